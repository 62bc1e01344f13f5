"""Stage 1: cut an image into semantic regions by clustering diffusion features (paper §3.1).

fused features of the inversion → smooth → standardise, PCA, K-means with silhouette → merge by mean latent
→ split and merge by depth → borders on the picture's edges → clean up → user masks on top.
The paper has neither the smoothing nor the edges.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.metrics.pairwise import euclidean_distances
from torch import Tensor

from stylegallery.errors import InputError, require
from stylegallery.extras.borders import follow_edges
from stylegallery.inversion import Inversion
from stylegallery.regions import (
    MOST_REGIONS,
    absorb_small_components,
    flat_labels,
    override,
    region_count,
    resize_labels,
    without_gaps,
)
from stylegallery.settings import Count, NotNegative, Number, Steps, check_fields

Clusters = Annotated[int, Field(ge=2, le=254)]  # a region map is written with 255 labels at most


@dataclass(frozen=True)
class SegmentationConfig:
    """Settings of stage 1; conf/method/stylegallery.yaml has the paper's values."""

    inversion_steps: Steps
    inversion_batch: Count  # pictures of one shape inverted together: faster on a GPU, and rounding is the batch's
    smoothing: Count  # cells: window of a mean filter over features before clustering, not in the paper; 1 for none
    components: Count  # of the PCA
    clusters: Annotated[tuple[Clusters, Clusters], Field(strict=False)]  # K is chosen within, by silhouette
    restarts: Count
    merge_distance: NotNegative  # between mean latents
    proposal_merge_distance: NotNegative  # the same where a segmenter's proposals replace the clusters
    merging: Literal["connected", "sequential"]  # see `merge`; the published code's is sequential
    depth_span: NotNegative  # 5-95 % span above which a cluster is split, of depth in [0, 1]
    depth_merge_latent: NotNegative
    depth_merge_depth: NotNegative
    smallest_component: Number  # cells
    border_margin: NotNegative  # cells, not in the paper: nearer to a border, regions follow the picture
    masks: Literal["any_size", "published"]  # how a user's mask is read: `regions.read_published_mask`

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.smoothing % 2 == 1, "smoothing is an odd number of cells", self.smoothing)
        require(self.clusters[0] <= self.clusters[1], "clusters is [smallest, largest]", self.clusters)


@dataclass(frozen=True)
class Segmentation:
    """What stage 1 finds in a picture.

    labels is the region map (h, w); latent is the clean latent and inverted the last of the inversion, both
    (1, C, h, w). F_mix stays behind in the `Inversion`: it is large, and stage 3 has no use for it.
    """

    labels: Tensor
    latent: Tensor
    inverted: Tensor
    _tokens: dict[tuple[int, int, torch.device], Tensor] = field(default_factory=dict, init=False, repr=False)

    def tokens(self, region: int, layer: Tensor) -> Tensor:
        """Indices (n,) of a region's tokens in a layer's queries, keys or values (B, H, N, D), on the layer's device.

        Computed once for all updates of stage 3: a GPU would wait for the CPU at each of them.
        """
        key = (region, layer.shape[2], layer.device)
        if key not in self._tokens:
            inside = flat_labels(self.labels, layer.shape[2]) == region
            self._tokens[key] = torch.nonzero(inside)[:, 0].to(layer.device)
        return self._tokens[key]


def find_regions(
    inversion: Inversion,
    image: Tensor,
    config: SegmentationConfig,
    seed: int,
    mask: Tensor | None = None,
    depth: Tensor | None = None,
    proposals: Tensor | None = None,
) -> Segmentation:
    """Stage 1 for one image (1, 3, H, W) in [0, 1], from its inversion on.

    `mask` is a user's label map, `depth` a depth map and `proposals` a segmenter's label map, all of any size.

    Raises:
        InputError: there are more regions than a region map can hold.
    """
    latent, inverted, features = inversion
    labels = segment(features, latent[0], image, config, seed, depth, proposals)
    if mask is not None:
        labels = override(labels, resize_labels(mask, (labels.shape[0], labels.shape[1])))
    if (count := region_count(labels)) > MOST_REGIONS:
        raise InputError(
            f"a picture has {count} regions, more than {MOST_REGIONS}; raise segmentation.smallest_component or the "
            "distances of merging"
        )
    return Segmentation(labels, latent, inverted)


def segment(
    features: Tensor,
    latent: Tensor,
    image: Tensor,
    config: SegmentationConfig,
    seed: int,
    depth: Tensor | None = None,
    proposals: Tensor | None = None,
) -> Tensor:
    """Region map (h, w) of features (C', h, w), the clean latent (C, h, w) and the image (1, 3, H, W).

    Cells that no proposal covers (0) are a region like the others.
    """
    grid = (features.shape[-2], features.shape[-1])
    latents = latent.flatten(1).T.cpu().numpy().astype(np.float64)
    if proposals is None:
        window = config.smoothing
        smooth = F.avg_pool2d(features[None], window, 1, window // 2, count_include_pad=False)[0]
        points = principal_components(smooth.flatten(1).T.cpu().numpy(), config.components, seed)
        labels, distance = cluster(points, config, seed), config.merge_distance
    else:
        flat = resize_labels(proposals, grid).flatten().numpy()
        labels, distance = np.unique(flat, return_inverse=True)[1].reshape(-1), config.proposal_merge_distance
    labels = merge(labels, [(latents, distance)], config.merging)
    if depth is not None:
        depths = normalised_depth(depth, grid)
        labels = split_by_depth(labels, depths, config.depth_span, seed)
        closeness = [(latents, config.depth_merge_latent), (depths[:, None], config.depth_merge_depth)]
        labels = merge(labels, closeness, config.merging)
    label_map = torch.from_numpy(labels.reshape(grid)).long() + 1
    if config.border_margin > 0:
        label_map = follow_edges(without_gaps(label_map), image, config.border_margin)
    return without_gaps(absorb_small_components(label_map, config.smallest_component))


def principal_components(tokens: np.ndarray, components: int, seed: int) -> np.ndarray:
    """Standardise every channel over the tokens (N, C'), then project on the leading principal components."""
    standardised = (tokens - tokens.mean(0)) / (tokens.std(0, ddof=1) + 1e-8)
    count = min(components, *standardised.shape)
    return PCA(count, svd_solver="randomized", random_state=seed).fit_transform(standardised)


def cluster(points: np.ndarray, config: SegmentationConfig, seed: int) -> np.ndarray:
    """K-means labels (N,), 0-based, of points (N, P); K by the best silhouette (Euclidean)."""
    smallest, largest = (min(k, len(points) - 1) for k in config.clusters)
    distances = euclidean_distances(points) if smallest < largest else None
    labellings, scores = [], []
    for k in range(smallest, largest + 1):
        kmeans = KMeans(k, init="random", n_init=config.restarts, max_iter=64, random_state=seed).fit(points)
        labels = np.unique(kmeans.labels_, return_inverse=True)[1].reshape(-1)  # fewer than K where points coincide
        labellings.append(labels)
        defined = distances is not None and labels.any()  # a silhouette takes two clusters
        scores.append(silhouette_score(distances, labels, metric="precomputed") if defined else -1.0)
    return labellings[int(np.argmax(scores))]


def merge(
    labels: np.ndarray,
    closeness: list[tuple[np.ndarray, float]],
    rule: Literal["connected", "sequential"] = "connected",
) -> np.ndarray:
    """Join clusters whose means are closer than the distance in every one of the spaces ((N, P), distance).

    `connected`: connected components of "closer than", so that the order of clusters does not matter.
    `sequential`: every cluster joins the last of the close clusters before it, and what that one has joined (the
    published code visits pairs in order and the last writer wins). A cluster without tokens is close to none.
    """
    count = labels.max() + 1
    close = np.ones((count, count), dtype=bool)
    for values, distance in closeness:
        inside = [labels == label for label in range(count)]
        means = np.stack([values[i].mean(0) if i.any() else np.full(values.shape[1], np.nan) for i in inside])
        close &= np.linalg.norm(means[:, None] - means[None], axis=-1) < distance
    if rule == "connected":
        return connected_components(close)[1].astype(np.int64)[labels]
    roots = np.arange(count)
    for label in range(count):
        earlier = np.flatnonzero(close[:label, label])
        if earlier.size:
            roots[label] = roots[earlier[-1]]
    return np.unique(roots, return_inverse=True)[1].reshape(-1)[labels]


def normalised_depth(depth: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """Depth on the grid, min-max normalised after the resize, flat (N,)."""
    values = resize_labels(depth, grid).double().flatten().numpy()
    return (values - values.min()) / (values.max() - values.min() + 1e-6)


def split_by_depth(labels: np.ndarray, depths: np.ndarray, span: float, seed: int) -> np.ndarray:
    """Labels (N,) whose clusters are cut in two, by K-means on depths (N,), where a cluster has at least 20 tokens and
    a 5-95 % depth span of at least `span`."""
    labels = labels.copy()
    for label in range(labels.max() + 1):
        inside = np.flatnonzero(labels == label)
        ordered = np.sort(depths[inside])
        if len(inside) < 20 or ordered[int(0.95 * len(inside))] - ordered[int(0.05 * len(inside))] < span:
            continue
        halves = KMeans(2, n_init=1, random_state=seed).fit_predict(depths[inside, None])
        labels[inside[halves == 1]] = labels.max() + 1
    return labels
