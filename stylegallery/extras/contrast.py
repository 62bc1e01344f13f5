"""Optional, not in the paper: the result has the contrast of its references in every octave.

A brush leaves its mark all over a painting: how strong fine and coarse detail are there is the hand of its painter. A
small model moves that slowly: stone and grass keep a harshness that no painting has, and a sky is smoother than any
that was painted. The octaves of the luminance, each less its blur, get the spread that they have in the reference, and
more of it where they are weak than where they are strong; colours and drawing stay. Pyramid-based texture synthesis
(Heeger & Bergen, SIGGRAPH 1995) matches all of their histograms, which would redraw the picture.
"""

from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from stylegallery.colour_statistics import luminance
from stylegallery.contract import Match

OCTAVES = 4
GAINS = 0.5, 2.0  # bounds: detail is not wiped out, and what is flat does not turn its noise into texture
NEAR = 8  # pixels, standard deviation of what is near in the finest octave; twice as many in each after it
FLAT = 0.005  # of the range of luminance: what varies less near a pixel is as weak as that
ROUNDS = 5  # octaves overlap: a gain of one changes the spread of its neighbours
BINOMIAL = torch.tensor([1.0, 4, 6, 4, 1]) / 16


def match_contrast(
    image: Tensor, labels: Tensor, references: Sequence[Tensor], matches: Sequence[Match], strength: float
) -> Tensor:
    """A result (1, 3, H, W) in [0, 1] whose octaves have the root mean square of its references', within GAINS.

    Of an octave's unevenness half is left: where it is a quarter as strong as elsewhere, its gain is twice as large.
    Regions that are matched to one reference count together, with all of that reference: some cells of a painting say
    little of its hand. `labels` (h, w) are the content's regions on the latent grid; gains change smoothly between
    cells. `strength` in [0, 1] fades the change in.
    """
    octaves = octaves_of(image)
    uneven = torch.stack([nearby(octave, NEAR * 2**index).sqrt() for index, octave in enumerate(octaves)])
    regions = Counter(match.content_region for match in matches)
    change = torch.zeros(image.shape[-2:])
    for number in sorted({match.reference for match in matches}):
        share = torch.zeros(labels.shape)
        for match in matches:
            if match.reference == number:
                share[labels == match.content_region] += 1 / regions[match.content_region]
        share = F.interpolate(share[None, None], image.shape[-2:], mode="bilinear")[0, 0]
        wanted = octaves_of(references[number - 1]).square().mean((1, 2)).sqrt()
        scale = wanted / spreads(octaves / uneven, share)
        for _ in range(ROUNDS):
            made = octaves_of((image + detail_change(octaves, scale, uneven)).clamp(0, 1))
            scale = scale * wanted / spreads(made, share)
        change += share * detail_change(octaves, scale, uneven)
    return (image + strength * change).clamp(0, 1)


def detail_change(octaves: Tensor, scale: Tensor, uneven: Tensor) -> Tensor:
    """What to add to the luminance, (H, W), so that octaves (OCTAVES, H, W) have the gains scale / uneven within GAINS;
    scale (OCTAVES,)."""
    gains = (scale[:, None, None] / uneven).clamp(*GAINS)
    return ((gains - 1) * octaves).sum(0)


def spreads(octaves: Tensor, share: Tensor) -> Tensor:
    """Root mean square of every octave (OCTAVES, H, W) where a share (H, W) in [0, 1] is, (OCTAVES,)."""
    power = (share * octaves.square()).sum((1, 2)) / share.sum().clamp(min=1e-6)
    return power.sqrt().clamp(min=1e-6)


def nearby(octave: Tensor, deviation: float) -> Tensor:
    """Root mean square of an octave (H, W) around every pixel, in a Gaussian window; FLAT at least."""
    power = gaussian_filter(octave.square().numpy(), deviation, truncate=3)
    return torch.from_numpy(power).sqrt().clamp(min=FLAT)


def octaves_of(image: Tensor) -> Tensor:
    """The OCTAVES finest octaves of the luminance of (1, 3, H, W), finest first, (OCTAVES, H, W)."""
    rest, octaves = luminance(image), []
    for octave in range(OCTAVES):
        coarse = blur(rest, 2**octave)
        octaves.append((rest - coarse)[0, 0])
        rest = coarse
    return torch.stack(octaves)


def blur(image: Tensor, spacing: int) -> Tensor:
    """(1, 1, H, W) by the binomial filter of five taps, `spacing` pixels apart, in rows and columns; edges repeat."""
    reach = 2 * spacing
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, BINOMIAL.view(1, 1, 5, 1), dilation=spacing)
    return F.conv2d(rows, BINOMIAL.view(1, 1, 1, 5), dilation=spacing)
