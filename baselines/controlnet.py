"""Stable Diffusion 1.x and SDXL with a ControlNet, from local directories in diffusers layout."""

from collections.abc import Callable
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
from torch import Tensor

from stylegallery.devices import pick_device
from stylegallery.models.diffusion import finite
from stylegallery.models.pretrained import ModelFiles, model_files, reading, variant_of, whole
from stylegallery.weights import locate

disable_progress_bar()  # of loading weights: it would break into the bars of a run


def load_controlnet(base: str, controlnet: str | None, precision: torch.dtype) -> ControlNetModel:
    """A ControlNet from its directory; without one, of the shape of the base's UNet, to be filled by the caller."""
    folder = locate(controlnet) if controlnet else model_files(base).folder / "unet"
    with reading(folder, "ControlNet", "method.controlnet"):
        if controlnet:
            return whole(ControlNetModel, folder, dtype=precision)
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))
        controlnet_of_unet = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
        return controlnet_of_unet.to(precision) if precision != torch.float32 else controlnet_of_unet


def load_pipeline(base: str, controlnet: ControlNetModel, device: str, precision: torch.dtype) -> Any:
    """The text-to-image pipeline with ControlNet of a Stable Diffusion 1.x or SDXL model: a directory or one file.

    The safety checker is off, since it blackens art; so are watermark and progress bar.
    """
    files = model_files(base)
    options: dict[str, Any] = {"controlnet": controlnet, "dtype": precision, "local_files_only": True}
    with reading(files.place, "diffusers model", "method.base"):
        family: Any
        if is_xl(files):
            family, options = StableDiffusionXLControlNetPipeline, options | {"add_watermarker": False}
        else:  # the feature extractor is the safety checker's, which nobody needs to download
            family = StableDiffusionControlNetPipeline
            options |= {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}
        if files.file is None:
            pipeline = family.from_pretrained(files.folder, variant=variant_of(files.folder / "unet"), **options)
        else:
            tokenizers = {part: files.tokenizer(part) for part in files.index if part.startswith("tokenizer")}
            pipeline = family.from_single_file(str(files.file), config=str(files.folder), **tokenizers, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(pick_device(device))


def is_xl(files: ModelFiles) -> bool:
    """Whether a model is SDXL rather than Stable Diffusion 1.x, by its index."""
    files.denoiser(["unet"])  # raises InputError of a model without one
    return bool(files.index["_class_name"].startswith("StableDiffusionXL"))


def decoded(images: Tensor) -> Tensor:
    """A pipeline's pictures on the CPU in float32. Raises FloatingPointError where one is not finite."""
    return finite(images, "the decoded picture").float().cpu()


def each_step(advance: Callable[[], None]) -> Callable[[DiffusionPipeline, int, int, dict[str, Any]], dict[str, Any]]:
    """A pipeline's callback that advances a progress bar and changes nothing."""

    def callback(pipeline: DiffusionPipeline, step: int, timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        advance()
        return {}

    return callback
