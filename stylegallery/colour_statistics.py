"""Luminance, mean and covariance of colours, and the linear map that gives those of one picture to another.

The map is Monge-Kantorovich's (Pitié & Kokaram, CVMP 2007): of all linear maps the one that moves colours least. Its
gains are bounded, so that what is flat does not turn its noise into texture.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

GREATEST_GAIN = 3.0
LUMINANCE = (0.299, 0.587, 0.114)  # Rec. 601


def luminance(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W), Rec. 601."""
    return (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)


def monge_kantorovich(content: Tensor, references: Sequence[Tensor]) -> Tensor:
    """Content (1, 3, H, W) with the mean and covariance of the references' colours, pooled; not clamped."""
    pixels = torch.cat([reference[0].flatten(1) for reference in references], dim=1)
    return transport(content, content[0].flatten(1), pixels)


def transport(image: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The Monge-Kantorovich linear map of colours source (3, n) to target (3, m), applied to image (1, 3, H, W).

    x ↦ A (x − μ_s) + μ_t with A = Σ_s^-½ (Σ_s^½ Σ_t Σ_s^½)^½ Σ_s^-½, its gains bounded.
    """
    grain = 1e-6 * torch.eye(3, dtype=torch.float64)
    source, target = source.double(), target.double()
    root = matrix_power(torch.cov(source, correction=0) + grain, 0.5)
    inverse = torch.linalg.inv(root)
    gains = inverse @ matrix_power(root @ (torch.cov(target, correction=0) + grain) @ root, 0.5) @ inverse
    values, vectors = torch.linalg.eigh(gains)
    gains = vectors @ values.clamp(max=GREATEST_GAIN).diag() @ vectors.T
    centred = image[0].double() - source.mean(1)[:, None, None]
    return (torch.einsum("ij,jhw->ihw", gains, centred) + target.mean(1)[:, None, None]).float()[None]


def matrix_power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of a symmetric positive semi-definite matrix (n, n)."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.clamp(min=0).pow(exponent).diag() @ vectors.T
