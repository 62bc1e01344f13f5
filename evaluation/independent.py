"""Regions and matches made without StyleGallery: a second annotation for the regional scores.

Regions are labelled by hand where data/masks has the picture. Elsewhere they are superpixels (SLIC) joined by Ward's
clustering of their colour, texture, place and features; their number follows from one threshold. Every region of the
content is matched to the region of any reference whose features are most alike. The features are those of
EfficientNet-Lite2, which no method and no metric here uses. No diffusion model, no setting of a run and no term of
StyleGallery's score takes part.

Measured by benchmarks/annotator.py: without the labels the regions have a mean adjusted Rand index with them of 0.62
on the 15 contents and 0.42 on 100 paintings. With the labels, 97 % of the regions of a content are matched to their own
kind in another content that has it (chance 31 %), and 80 % in a painting (chance 27 %). Where no reference shows the
kind, the match is arbitrary: single matches are not to be believed, differences over many items may be.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.segmentation import slic
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA
from torch import Tensor

from evaluation.metric import Annotation
from stylegallery.contract import Item, Match
from stylegallery.encoders import EfficientNetEncoder
from stylegallery.images import read_image, resize
from stylegallery.provenance import file_digest
from stylegallery.regions import mask_on_grid, override, region_count, without_gaps

SIDE = 256  # pictures are read with about SIDE² pixels; label maps have one label per pixel
SUPERPIXELS = 300
THRESHOLD = 0.65  # of Ward's distance, for the square root of the number of superpixels; 3 to 5 regions
# What a distance of 1 is worth: 20 units of CIELAB, a deviation of lightness of 10 within 2 or 6 px, twice the
# picture's side, and the deviation of the first components of the features.
LIGHTNESS_UNIT, TEXTURE_UNIT, PLACE_UNIT = 20.0, 10.0, 2.0
TEXTURE_SCALES, COMPONENTS = (2, 6), 8


@dataclass(frozen=True)
class Regions:
    """Of one picture: label map (h, w), 1..R, and a feature vector of unit length per region (R, C)."""

    labels: Tensor
    features: Tensor


class IndependentAnnotator:
    """Annotates items; every picture is looked at once."""

    def __init__(self) -> None:
        self.encoder = EfficientNetEncoder("lite2", block=15, resolution=384)  # stride 32
        self.known: dict[tuple[str, str | None], Regions] = {}

    def annotate(self, item: Item) -> Annotation:
        """Nothing is drawn, and the constraints of the item take no part.

        Raises:
            InputError: a picture or a mask of the item cannot be used.
        """
        paths = zip((item.content, *item.references), item.masks(), strict=True)
        content, *references = [self.regions(picture, mask) for picture, mask in paths]
        return Annotation(content.labels, [one.labels for one in references], match(content, references))

    def regions(self, picture: Path, mask: Path | None) -> Regions:
        """Labelled regions where there is a mask, found ones where it has none or leaves something out."""
        key = file_digest(picture), file_digest(mask) if mask else None
        if key not in self.known:
            original = read_image(picture)
            image = resize(original, SIDE, "keep", 1)
            tokens = self.encoder(image)
            size = (image.shape[-2], image.shape[-1])
            labels = torch.zeros(size, dtype=torch.int64)
            if mask:
                labels = mask_on_grid(mask, [(original.shape[-2], original.shape[-1])], size)
            if not labels.all():
                labels = override(segment(image, tokens), labels)
            self.known[key] = Regions(labels, describe(labels, tokens))
        return self.known[key]


def with_labels(item: Item, folder: Path) -> Item:
    """The item with the masks that a folder has of its pictures: <stem>.png or .json of the content, <family>/<stem> of
    a reference, whose family is the folder it lies in."""
    references = (labels_of(folder / path.parent.name / path.stem) for path in item.references)
    return replace(item, mask=labels_of(folder / item.content.stem), reference_masks=tuple(references))


def labels_of(place: Path) -> Path | None:
    found = [path for suffix in (".png", ".json") if (path := place.with_name(place.name + suffix)).is_file()]
    return found[0] if found else None


def segment(image: Tensor, tokens: Tensor) -> Tensor:
    """Label map (H, W) of an image (1, 3, H, W), from its colours, texture and tokens (1, C, h, w).

    SLIC: Achanta et al. 2012, in CIELAB. A region may have several components: one material in several places.
    """
    height, width = image.shape[-2:]
    rgb = image[0].permute(1, 2, 0).numpy()
    lab, pixels = rgb2lab(rgb), slic(rgb, SUPERPIXELS, compactness=10, sigma=1, start_label=0)
    lightness = lab[..., 0]
    textures = [local_deviation(lightness, scale) for scale in TEXTURE_SCALES]
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    flat = tokens[0].flatten(1).T.numpy()  # (h·w, C)
    components = PCA(min(COMPONENTS, *flat.shape), svd_solver="full").fit_transform(flat)
    components /= max(float(np.sqrt((components**2).sum(1).mean())), 1e-6)
    deep = torch.from_numpy(components.T.reshape(1, -1, *tokens.shape[-2:]))
    deep = F.interpolate(deep, (height, width), mode="bilinear")[0].permute(1, 2, 0)
    vectors = np.concatenate(
        [
            means(pixels, lab) / LIGHTNESS_UNIT,
            means(pixels, np.stack(textures, -1)) / TEXTURE_UNIT,
            means(pixels, np.stack([rows, columns], -1)) / PLACE_UNIT,
            means(pixels, deep.numpy()),
        ],
        axis=1,
    )
    if len(vectors) < 2:
        return torch.ones(height, width, dtype=torch.int64)
    ward = AgglomerativeClustering(None, distance_threshold=THRESHOLD * len(vectors) ** 0.5, linkage="ward")
    return without_gaps(torch.from_numpy(ward.fit_predict(vectors)[pixels] + 1))


def local_deviation(values: np.ndarray, scale: float) -> np.ndarray:
    mean, square = (ndimage.gaussian_filter(power, scale) for power in (values, values**2))
    return np.sqrt(np.maximum(square - mean**2, 0))


def means(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean (n, C) of values (H, W, C) over every superpixel 0..n-1."""
    counts = np.bincount(pixels.ravel())
    return np.stack(
        [np.bincount(pixels.ravel(), channel.ravel()) / counts for channel in np.moveaxis(values, -1, 0)], 1
    )


def describe(labels: Tensor, tokens: Tensor) -> Tensor:
    """Mean token of every region (R, C), each token weighted by the part of it that the region covers, at unit
    length."""
    masks = torch.stack([labels == region for region in range(1, region_count(labels) + 1)]).float()
    weights = F.interpolate(masks[None], tokens.shape[-2:], mode="area")[0].flatten(1)
    return F.normalize(weights @ tokens[0].flatten(1).T, dim=1)


def match(content: Regions, references: list[Regions]) -> list[Match]:
    """The reference region with the largest cosine for every content region; `score` is the cosine."""
    places = [(i, j) for i, one in enumerate(references, 1) for j in range(1, len(one.features) + 1)]
    cosines = content.features @ torch.cat([one.features for one in references]).T
    best = cosines.argmax(1).tolist()
    values = cosines.amax(1).tolist()
    return [
        Match(region, places[index][0], places[index][1], value, 0.0, value, 0.0, False)
        for region, (index, value) in enumerate(zip(best, values, strict=True), 1)
    ]
