"""How far the style of a neighbour's reference crosses a region border. No learned weights."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from evaluation.metric import Direction, Sample
from stylegallery.regions import resize_labels

BAND = 1 / 16  # width of the band on each side of a border, in picture sides
SCALES = (1 / 128, 1 / 32)  # standard deviations of the windows that texture is measured in, in picture sides
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
RIDGE = np.diag([1e-4] * 3 + [1e-6] * 2)  # what nobody sees, squared: 1 % of a colour channel, 0.1 % of texture


class Leakage:
    """Share of the neighbour's reference style on either side of region borders, 0 to 1; lower is better.

    For neighbouring content regions a, b that were matched to different reference regions A, B:
    - style of a pixel: f = (R, G, B, v₁, v₂), palette and texture; v is the variance of luminance in a Gaussian
      window of 1/128 and 1/32 of the picture's side √(HW), taken inside the region only, so that the border itself is
      no texture;
    - f̄_a, f̄_b: means over the band, the pixels of a within √(HW)/16 of b and those of b within √(HW)/16 of a;
    - μ_A, μ_B, Σ_A, Σ_B: mean and covariance of f over the reference regions, δ = μ_B − μ_A,
      w = (½Σ_A + ½Σ_B + ridge)⁻¹ δ: Fisher's discriminant, the direction that tells A from B;
    - contrast that survives: κ = Σ_ab n_ab w·(f̄_b − f̄_a) / Σ_ab n_ab w·δ, n_ab the pixels of both sides of the band;
      references that look alike have a small w·δ and weigh little, since nothing can be seen to leak;
    - leakage = clip((1 − κ)/2, 0, 1).
    If each side is (1 − t) own + t neighbour's, leakage is t (exactly so for the palette): 0 = each side has the style
    of its own reference, ½ = the sides cannot be told apart, 1 = they are swapped.

    Shading common to both sides cancels, and nothing of the image outside the bands is read. An image without either
    style scores about ½ (nothing to tell apart), so read it beside `regional_style`. Measured on composites of real
    style pictures (16 items, 256 px): pasted 0.07, blurred by 2 / 4 / 8 / 16 px 0.17 / 0.22 / 0.30 / 0.39. Defined by
    this project; the paper shows leakage in figures only.
    """

    name = "leakage"
    version = 1
    direction: Direction = "down"
    bounds = (0.0, 1.0)
    kind = "regional"

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """Raises ValueError for a sample without question or without a border between different matches."""
        return [leakage(sample) for sample in samples]


def leakage(sample: Sample) -> float:
    if sample.question is None:
        raise ValueError("no question: regions and matches of the item are unknown")
    targets = {match.content_region: (match.reference, match.reference_region) for match in sample.question.matches}
    pixels = to_array(sample.image)
    labels = picture_labels(sample.question.content_labels, sample.image)
    width = BAND * float(np.sqrt(labels.size))
    distances = {region: distance_to(labels == region) for region in targets if (labels == region).any()}
    near = {  # (a, b): pixels of a close to b
        (a, b): (labels == a) & (distances[b] <= width)
        for a in distances
        for b in distances
        if targets[a] != targets[b]
    }
    pairs = [(a, b) for a, b in near if a < b and near[a, b].any() and near[b, a].any()]
    if not pairs:
        raise ValueError("no border between regions that were matched differently")
    styles = {}
    for a in distances:
        bands = [mask for (inside, _), mask in near.items() if inside == a]
        if bands:
            styles[a] = pixel_styles(pixels, np.logical_or.reduce(bands))
    models = reference_models(sample, {targets[region] for pair in pairs for region in pair})
    kept, whole = 0.0, 0.0
    for a, b in pairs:
        (mean_a, covariance_a), (mean_b, covariance_b) = models[targets[a]], models[targets[b]]
        delta = mean_b - mean_a
        discriminant = np.linalg.solve((covariance_a + covariance_b) / 2 + RIDGE, delta)
        pixels_of_pair = int(near[a, b].sum() + near[b, a].sum())
        contrast = styles[b][near[b, a]].mean(0, dtype=np.float64) - styles[a][near[a, b]].mean(0, dtype=np.float64)
        kept += pixels_of_pair * float(discriminant @ contrast)
        whole += pixels_of_pair * float(discriminant @ delta)
    if whole <= 0:
        raise ValueError("the references of neighbouring regions cannot be told apart")
    return float(np.clip((1 - kept / whole) / 2, 0, 1))


def reference_models(
    sample: Sample, targets: set[tuple[int, int]]
) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """Mean (5,) and covariance (5, 5) of pixel styles for reference regions (reference, region), numbered from 1."""
    assert sample.question is not None
    models = {}
    for reference, region in sorted(targets):
        image = sample.references[reference - 1]
        mask = picture_labels(sample.question.reference_labels[reference - 1], image) == region
        style = pixel_styles(to_array(image), mask)[mask].astype(np.float64)
        models[reference, region] = (style.mean(0), np.cov(style.T, ddof=0))
    return models


def pixel_styles(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(R, G, B, v₁, v₂) of every pixel (H, W, 5); windows see the pixels of `mask` (H, W) only."""
    inside = mask.astype(np.float32)
    luminance = pixels @ LUMINANCE
    textures = []
    for scale in SCALES:
        sigma = scale * float(np.sqrt(mask.size))
        weight, first, second = (
            cv2.GaussianBlur(channel, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
            for channel in (inside, inside * luminance, inside * luminance**2)
        )
        weight = np.maximum(weight, 1e-6)
        textures.append(np.maximum(second / weight - (first / weight) ** 2, 0))
    return np.concatenate([pixels, np.stack(textures, -1)], axis=-1)


def distance_to(region: np.ndarray) -> np.ndarray:
    """Distance in pixels from every pixel to the nearest pixel of the region (H, W)."""
    return cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def picture_labels(labels: Tensor, image: Tensor) -> np.ndarray:
    return resize_labels(labels, (image.shape[-2], image.shape[-1])).numpy()


def to_array(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) -> (H, W, 3) float32."""
    return image[0].permute(1, 2, 0).to(torch.float32).cpu().numpy()
