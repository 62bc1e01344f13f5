"""Optional, not in the paper: where regions meet, they meet along the picture's own edges.

Regions come from features whose cells see far beyond themselves, so their borders run a cell or two beside the things
they belong to; the style of a thing would show as a halo around it.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.segmentation import random_walker
from torch import Tensor

from stylegallery.regions import region_count


def follow_edges(labels: Tensor, image: Tensor, margin: float) -> Tensor:
    """Borders of a label map (h, w), 1..R, moved onto the edges of its picture (1, 3, H, W).

    A cell nearer than `margin` cells to a border goes to the region that the picture, seen at one colour a cell, joins
    it to; at 0 nothing moves. Every part of a region keeps its core.
    """
    colours = F.adaptive_avg_pool2d(image.cpu().float(), (labels.shape[0], labels.shape[1]))
    return soft_masks(colours, labels, margin).argmax(0)[0, 0] + 1


def soft_masks(image: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Shares (R, 1, 1, H, W) of the regions in every pixel of an image (1, 3, H, W) with labels (H, W), 1..R.

    Random walks (Grady 2006, scikit-image) from a pixel that is nearer than `margin` pixels to a border end in the
    regions' insides; they rather go along the picture's edges than across. What part of the walks ends in a region is
    cubed, and the cubes add up to 1: the few walks that cross an edge would leave a halo.
    """
    own = torch.stack([labels == region for region in range(1, region_count(labels) + 1)]).float()[:, None, None]
    cores = labels.numpy() * is_core(labels.numpy(), margin)
    if len(own) == 1 or cores.all() or image.std() == 0:
        return own
    pixels = image[0].permute(1, 2, 0).double().numpy()
    shares = random_walker(pixels, cores, mode="cg_j", tol=1e-4, channel_axis=-1, return_full_prob=True, prob_tol=1)
    shares = torch.from_numpy(shares).float().clamp(0, 1)[:, None, None] + 1e-6 * own  # for pixels cut off by edges
    return shares.pow(3) / shares.pow(3).sum(0)


def is_core(labels: np.ndarray, margin: float) -> np.ndarray:
    """Which pixels (H, W) are further than `margin` from their region's border; of a connected part of a region that
    is nowhere so deep, its deeper half."""
    core = np.zeros(labels.shape, dtype=bool)
    for region in np.unique(labels):
        inside = labels == region
        depth = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
        parts, count = ndimage.label(inside)
        deepest = ndimage.maximum(depth, parts, range(count + 1))
        core |= inside & (depth > np.minimum(margin, deepest / 2)[parts])
    return core
