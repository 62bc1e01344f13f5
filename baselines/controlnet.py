"""Stable Diffusion 1.x and SDXL with a ControlNet, from local directories in diffusers layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
    UNet2DConditionModel,
)
from diffusers.utils.logging import disable_progress_bar
from safetensors import SafetensorError
from torch import Tensor

from stylegallery.devices import pick_device
from stylegallery.errors import InputError
from stylegallery.weights import locate

disable_progress_bar()  # of loading weights: it would break into the bars of a run

UNREADABLE = (OSError, LookupError, TypeError, AttributeError, ValueError, RuntimeError, SafetensorError)


def load_controlnet(base: str, controlnet: str | None, precision: torch.dtype) -> ControlNetModel:
    """A ControlNet from its directory; without one, of the shape of the base's UNet, to be filled by the caller.

    Raises:
        InputError: the directory is missing or cannot be read.
    """
    folder = locate(controlnet) if controlnet else locate(base) / "unet"
    try:
        if controlnet:
            return ControlNetModel.from_pretrained(folder, torch_dtype=precision, local_files_only=True)
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))
        controlnet_of_unet = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
        return controlnet_of_unet.to(precision) if precision != torch.float32 else controlnet_of_unet
    except UNREADABLE as error:
        raise unreadable(folder, "ControlNet", error) from error


def load_pipeline(base: str, controlnet: ControlNetModel, device: str, precision: torch.dtype) -> Any:
    """The text-to-image pipeline with ControlNet of a Stable Diffusion 1.x or SDXL directory.

    No safety checker, which blackens art, no watermark, no progress bar of its own.

    Raises:
        InputError: the directory is missing or cannot be read.
    """
    folder = locate(base)
    options: dict[str, Any] = {"torch_dtype": precision, "local_files_only": True}
    pipeline: Any
    xl = is_xl(folder)
    try:
        if xl:
            pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(
                folder, controlnet=controlnet, add_watermarker=False, **options
            )
        else:
            pipeline = StableDiffusionControlNetPipeline.from_pretrained(
                folder,
                controlnet=controlnet,
                safety_checker=None,
                requires_safety_checker=False,
                feature_extractor=None,  # the safety checker's, which nobody needs to download
                **options,
            )
    except UNREADABLE as error:
        raise unreadable(folder, "diffusers model", error) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(pick_device(device))


def is_xl(folder: Path) -> bool:
    """Whether a directory holds SDXL rather than Stable Diffusion 1.x, by its index."""
    try:
        name: str = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except UNREADABLE as error:
        raise unreadable(folder, "diffusers model", error) from error
    return name.startswith("StableDiffusionXL")


def unreadable(folder: Path, kind: str, error: Exception) -> InputError:
    first_line = str(error).partition("\n")[0]
    return InputError(
        f"{folder} is not a readable {kind} ({type(error).__name__}: {first_line}); restore the folder or pass another"
    )


def finite(images: Tensor) -> Tensor:
    """A pipeline's pictures on the CPU in float32.

    Raises:
        FloatingPointError: a value is not finite, which would be saved as black.
    """
    if not images.isfinite().all():
        raise FloatingPointError("the decoded picture is not finite")
    return images.float().cpu()


def each_step(advance: Callable[[], None]) -> Callable[[DiffusionPipeline, int, int, dict[str, Any]], dict[str, Any]]:
    """A pipeline's callback that advances a progress bar and changes nothing."""

    def callback(pipeline: DiffusionPipeline, step: int, timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        advance()
        return {}

    return callback
