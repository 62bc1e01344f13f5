"""Colour transfer: the statistics of the references' colours given to the content's, without any network.

`lab` sets mean and standard deviation of every channel (Reinhard et al., IEEE CG&A 2001), here in CIE L*a*b* instead
of the paper's lαβ. `monge_kantorovich` is the linear map that takes the content's mean and covariance in RGB to the
references' at the least cost (Pitié & Kokaram, CVMP 2007); its gains are bounded by 3, so that a flat content does not
turn its noise into texture. No official code was used. The pixels of several references are pooled. Needs no weights
and no random numbers. Masks and match constraints of an item are ignored.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from baselines.inputs import PictureReader
from stylegallery.colour_statistics import monge_kantorovich
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.settings import Resolution, checked
from stylegallery.stopwatch import Stopwatch


class ColorTransfer:
    @checked
    def __init__(
        self, resolution: Resolution, resizing: Literal["square", "keep"], mode: Literal["lab", "monge_kantorovich"]
    ) -> None:
        self.read, self.mode = PictureReader(resolution, resizing), mode

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        content, references = self.read(item)
        watch = Stopwatch(torch.device("cpu"))
        with watch("transfer"):
            transfer = lab_statistics if self.mode == "lab" else monge_kantorovich
            image = transfer(content, references).clamp(0, 1)
        return Stylization(image, content, references, **watch.costs())


def lab_statistics(content: Tensor, references: Sequence[Tensor]) -> Tensor:
    """Content (1, 3, H, W) with the mean and standard deviation of the references' L*, a* and b*; not clamped."""
    source = to_lab(content)
    target = np.concatenate([to_lab(reference).reshape(-1, 3) for reference in references])
    deviation = source.std((0, 1))
    gain = np.divide(target.std(0), deviation, out=np.zeros(3, np.float32), where=deviation > 1e-6)
    lab = (source - source.mean((0, 1))) * gain + target.mean(0)
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_Lab2RGB)
    return torch.from_numpy(rgb).permute(2, 0, 1)[None]


def to_lab(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] -> float32 (H, W, 3): L* in [0, 100], a* and b* about ±100."""
    return cv2.cvtColor(np.ascontiguousarray(image[0].permute(1, 2, 0).numpy()), cv2.COLOR_RGB2Lab)
