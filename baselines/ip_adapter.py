"""IP-Adapter (Ye et al., arXiv 2308.06721) through diffusers: pictures as prompts, content by a ControlNet.

Official code: tencent-ailab/IP-Adapter; weights h94/IP-Adapter (Apache-2.0), loaded by diffusers' load_ip_adapter.
Settings: adapter scale 1, guidance 7.5, 50 steps, prompt "best quality, high quality" and the negative prompt of the
official library. Several references are native: the image tokens of all of them are attended to together.

IP-Adapter by itself does not keep the content. Here a ControlNet on Canny edges of the content does so, for IP-Adapter
and InstantStyle alike (thresholds 50 and 200, as InstantStyle's ControlNet demo); the edges need no further weights.

What differs from the official ControlNet demo: Canny instead of depth, the model's own scheduler instead of DDIM,
prompts by the rule of baselines/captions.py, safety checker off.
"""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from baselines.captions import Captions
from baselines.controlnet import decoded, each_step, load_controlnet, load_pipeline
from baselines.inputs import PictureReader
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.devices import pick_device, pick_dtype
from stylegallery.images import read_image, to_pixels
from stylegallery.models.pretrained import reading
from stylegallery.settings import Dtype, NotNegative, Resolution, Steps, Weights, checked
from stylegallery.stopwatch import Stopwatch
from stylegallery.weights import locate


class IPAdapter:
    """`adapter` is the repository, `weights` the file in it, `image_encoder` its encoder's folder: beside the file, or
    from the repository's root where the name has a slash. `scale` is a number, or numbers by block as in diffusers."""

    @checked
    def __init__(
        self,
        base: Weights,
        controlnet: Weights,
        adapter: Weights,
        weights: str,
        image_encoder: str,
        condition: Callable[[Tensor], Tensor],
        resolution: Resolution,
        resizing: Literal["square", "keep"],
        steps: Steps,
        guidance_scale: NotNegative,
        controlnet_scale: NotNegative,
        prompt: str,
        negative_prompt: str,
        captions: Weights | None,
        scale: NotNegative | dict[str, Any],
        device: str,
        dtype: Dtype,
    ) -> None:
        precision = pick_dtype(dtype, pick_device(device))
        self.pipeline = load_pipeline(base, load_controlnet(base, controlnet, precision), device, precision)
        folder, file = locate(adapter), PurePosixPath(weights)
        with reading(folder / file, "IP-Adapter of this model", "method.adapter"):
            self.pipeline.load_ip_adapter(
                str(folder),
                subfolder=str(file.parent),
                weight_name=file.name,
                image_encoder_folder=image_encoder,
                local_files_only=True,
            )
            self.pipeline.set_ip_adapter_scale(scale)
        self.condition, self.captions, self.negative_prompt = condition, Captions(captions, prompt), negative_prompt
        self.read = PictureReader(resolution, resizing, self.pipeline.vae_scale_factor)
        self.steps, self.guidance_scale, self.controlnet_scale = steps, guidance_scale, controlnet_scale

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        """Stylise one item with all its references; every draw comes from `generator`."""
        content, references = self.read(item)
        # The encoder's own processor resizes and crops, so it gets the pictures as they are, not squashed to a square.
        prompts = [Image.fromarray(to_pixels(read_image(path))) for path in item.references]
        watch = Stopwatch(self.pipeline.unet.device)
        with watch("denoising"):
            image = self.pipeline(
                prompt=self.captions(item.content),
                negative_prompt=self.negative_prompt,
                image=self.condition(content),
                ip_adapter_image=[prompts],
                controlnet_conditioning_scale=self.controlnet_scale,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance_scale,
                generator=generator,
                output_type="pt",
                callback_on_step_end=each_step(progress.stage("denoising", self.steps)),
            ).images
        return Stylization(decoded(image), content, references, **watch.costs())
