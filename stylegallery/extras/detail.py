"""Optional, not in the paper: a result as large as the photo, with the fine drawing that the model cannot carry.

A model paints at its own resolution and through its autoencoder. What both lose of the photo is known: the photo less
what comes out of the autoencoder at the model's size. The luminance of that is added to the enlarged result, so that
hair, leaves and letters are there again while colours and large shapes stay as they were painted.
"""

import torch.nn.functional as F
from torch import Tensor

from stylegallery.colour_statistics import luminance


def enlarge(result: Tensor, photo: Tensor, carried: Tensor, detail: float) -> Tensor:
    """The result (1, 3, h, w) at the size of the photo (1, 3, H, W), both in [0, 1].

    carried: the photo at the model's size after encoding and decoding, (1, 3, h, w). detail: weight of the luminance
    that it lacks; at 1 a result equal to `carried` has the luminance of the photo.
    """
    size = (photo.shape[-2], photo.shape[-1])
    painted, base = (
        F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1) for image in (result, carried)
    )
    return (painted + detail * (luminance(photo) - luminance(base))).clamp(0, 1)
