"""The published formulation of all three stages in our own words: what benchmarks measure this repository against.

It computes what `method=stylegallery_released` does, the way the published code does it: a pass of the network for
every reference of every step, matched or not; a full N x N attention for every matched region and layer, with queries,
keys and values outside set to zero; the encoder once per region; a silhouette from scratch for every K; and pictures
decoded in the inversion that nobody reads. Loading models again for every call is left out.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch import Tensor

from stylegallery.contract import Match
from stylegallery.guidance import GuidanceConfig, guided_layers
from stylegallery.matching import MatchingConfig, region_semantics
from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel, InversionStep
from stylegallery.regions import flat_labels, region_count
from stylegallery.segmentation import Segmentation, SegmentationConfig

DECODED = 5  # pictures of an inversion


def invert(model: DiffusionModel, latent: Tensor, steps: int) -> list[InversionStep]:
    """DDIM inversion of a clean latent (1, C, h, w); five of its latents are decoded."""
    trace = list(model.invert(latent, steps))
    for step in trace[:: math.ceil(steps / DECODED)]:
        model.decode(step.latents)
    return trace


def labellings(points: np.ndarray, config: SegmentationConfig, seed: int) -> list[np.ndarray]:
    """K-means labels (N,), 0-based, of points (N, P), for every K."""
    return [
        KMeans(k, init="random", n_init=config.restarts, max_iter=64, random_state=seed).fit_predict(points)
        for k in range(config.clusters[0], config.clusters[1] + 1)
    ]


def cluster(points: np.ndarray, config: SegmentationConfig, seed: int) -> np.ndarray:
    """The best of these by its silhouette, for which every K computes all distances again."""
    found = labellings(points, config, seed)
    return found[int(np.argmax([silhouette_score(points, labels) for labels in found]))]


def semantics(labels: Tensor, image: Tensor, encoder: Callable[[Tensor], Tensor], config: MatchingConfig) -> Tensor:
    """Mean encoder token (R, D) of every region of labels (h, w), with a pass of the encoder for each."""
    size = (image.shape[-2], image.shape[-1])
    regions = [(labels == region).long() for region in range(1, region_count(labels) + 1)]
    return torch.cat([region_semantics(region, encoder(image)[0], size, config.lone_token) for region in regions])


class PublishedLosses:
    """What `optimisation.minimise` asks: the losses of a timestep as a function of the latent."""

    def __init__(
        self,
        model: DiffusionModel,
        content: Segmentation,
        references: Sequence[Segmentation],
        matches: Sequence[Match],
        config: GuidanceConfig,
    ) -> None:
        self.model, self.pictures, self.matches = model, (content, references), matches
        self.layers, self.scale = guided_layers(model, config), config.attention_scale

    def prepare(self, timestep: int) -> None:
        content, references = self.pictures
        self.timestep = timestep
        self.of_content = self.model.self_attention(content.latent, timestep, self.layers)
        self.of_references = [self.model.self_attention(one.latent, timestep, self.layers) for one in references]

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        attention = self.model.self_attention(latents, self.timestep, self.layers)
        style = style_loss(attention, self.of_references, *self.pictures, self.matches, self.scale)
        queries = [F.l1_loss(a.query, c.query) for a, c in zip(attention, self.of_content, strict=True)]
        return style, torch.stack(queries).sum()


def style_loss(
    attention: Sequence[SelfAttention],
    of_references: Sequence[Sequence[SelfAttention]],
    content: Segmentation,
    references: Sequence[Segmentation],
    matches: Sequence[Match],
    scale: float,
) -> Tensor:
    """Sum over layers and matches of the mean |out m_i - softmax(s Q m_i (K m_j)^T / sqrt(D)) V m_j|, where the masks
    m_i and m_j set the tokens outside region i of the content and region j of its reference to zero."""
    total = attention[0].output.new_zeros(())
    for depth, layer in enumerate(attention):
        for match in matches:
            style = of_references[match.reference - 1][depth]
            queries = mask(content.labels, match.content_region, layer.query)
            keys = mask(references[match.reference - 1].labels, match.reference_region, style.key)
            with torch.no_grad():
                factor = scale / math.sqrt(layer.query.shape[-1])
                target = F.scaled_dot_product_attention(
                    layer.query * queries, style.key * keys, style.value * keys, scale=factor
                )
            total = total + (layer.output * queries - target).abs().mean()
    return total


def mask(labels: Tensor, region: int, layer: Tensor) -> Tensor:
    """1 at the tokens of a region in a layer's queries, keys or values (1, H, N, D), else 0; (N, 1)."""
    return (flat_labels(labels, layer.shape[2]) == region).to(layer)[:, None]
