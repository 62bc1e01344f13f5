"""Segmenters, whose masks may take the place of clusters of diffusion features (paper §3.1)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from transformers import MaskGenerationPipeline, SamImageProcessor, SamModel

from stylegallery.images import to_pixels
from stylegallery.models.pretrained import pretrained, processor_of
from stylegallery.settings import Share, Weights, checked


class SAM:
    """Segment Anything without prompts: image (1, 3, H, W) in [0, 1] -> label map (H, W) int64, 0 for no mask.

    `points_per_side`² points ask for masks; those below the predicted overlap or the stability are dropped.
    """

    @checked
    def __init__(
        self,
        path: Weights,
        points_per_side: Annotated[int, Field(ge=1, le=256)],
        predicted_overlap: Share,
        stability: Share,
        device: str,
    ) -> None:
        network = pretrained(SamModel, path, "segmenter.path", device)
        processor = processor_of(SamImageProcessor, path, "segmenter.path")
        self.pipeline = MaskGenerationPipeline(
            model=network,
            image_processor=processor,
            device=network.device,
            points_per_crop=points_per_side,
            pred_iou_thresh=predicted_overlap,
            stability_score_thresh=stability,
        )

    def __call__(self, image: Tensor) -> Tensor:
        masks = self.pipeline(Image.fromarray(to_pixels(image)))["masks"]
        size = (image.shape[-2], image.shape[-1])
        return stack_masks([torch.as_tensor(mask, dtype=torch.bool) for mask in masks], size)


def stack_masks(masks: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Label map of boolean masks (H, W) that overlap, the smaller on top: labels 1, 2, ... from large to small."""
    labels = torch.zeros(size, dtype=torch.int64)
    for label, mask in enumerate(sorted(masks, key=lambda mask: -int(mask.sum())), 1):
        labels[mask] = label
    return labels
