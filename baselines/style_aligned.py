"""StyleAligned (Hertz et al., CVPR 2024, arXiv 2312.02133): self-attention shared with an inverted reference.

Official code: google/style-aligned at 2faf0af (Apache-2.0); written here from the paper and its settings.
Settings of its transfer notebook: DDIM without clipping, 50 steps; the reference is inverted with guidance 2 and its
latents are put back at every step (offset 5); sampling guidance 10; logits of the reference's keys shifted by log 2,
scale 1 (its advice for famous pictures: shift 0, scale 0.5). Of its ControlNet demo: depth of the content at scale 0.8,
which the reference does not see, and no sharing of norms.

No negative prompt is passed, so that guidance is against zeros on SDXL (`force_zeros_for_empty_prompt`), as published.

What differs: notebook and demo are joined, since only the first takes a real reference and only the second a content;
reference and content get prompts by the rule of baselines/captions.py, by default none (published: a caption each,
which a text-driven method needs: this is a weak image-to-image baseline); the notebook shares group and layer norms,
the demo does not; the demo's ControlNet gets the negative prompt twice, here it gets both. One reference only: of
several, number `reference` is taken, by default the first.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from diffusers import DDIMInverseScheduler, DDIMScheduler
from pydantic import Field
from torch import Tensor, nn

from baselines.captions import Captions
from baselines.controlnet import decoded, load_controlnet, load_pipeline
from baselines.inputs import PictureReader, require_reference
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.devices import pick_device, pick_dtype
from stylegallery.errors import require
from stylegallery.models.unet import replaced_self_attention, self_attention_layers
from stylegallery.settings import (
    Count,
    Dtype,
    GuidanceScale,
    NotNegative,
    Number,
    Positive,
    Resolution,
    Steps,
    Weights,
    checked,
)
from stylegallery.stopwatch import Stopwatch


class SharedAttention:
    """Self-attention of a batch whose halves (negative and positive prompt) each begin with the reference.

    Queries and keys of all items get the reference's mean and deviation over tokens, per head and channel; then every
    item attends to its own tokens and the reference's, whose keys are multiplied by `scale` and whose logits are
    raised by `shift`.
    """

    def __init__(self, shift: float, scale: float) -> None:
        self.shift, self.scale = shift, scale

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key = align(query), align(key)
        shared = of_reference(key)
        if self.scale != 1:  # the reference's own copy keeps its keys
            half = len(key) // 2
            factor = torch.full((len(key), 1, 1, 1), self.scale, dtype=key.dtype, device=key.device)
            factor[[0, half]] = 1
            shared = shared * factor
        keys, values = torch.cat([key, shared], 2), torch.cat([value, of_reference(value)], 2)
        bias = torch.zeros(1, 1, 1, keys.shape[2], dtype=query.dtype, device=query.device)
        bias[..., key.shape[2] :] = self.shift
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=bias)


def of_reference(features: Tensor) -> Tensor:
    """(2 B, ...) -> the same shape, every item replaced by the first of its half."""
    return torch.cat([half[:1].expand_as(half) for half in features.chunk(2)])


def align(features: Tensor) -> Tensor:
    """AdaIN of (2 B, heads, tokens, width) over tokens to the first item of each half."""
    mean, deviation = features.mean(2, keepdim=True), (features.var(2, keepdim=True) + 1e-5).sqrt()
    return (features - mean) / deviation * of_reference(deviation) + of_reference(mean)


def blind_to_reference(module: nn.Module, inputs: Any, outputs: tuple[list[Tensor], Tensor]) -> Any:
    """Forward hook of the ControlNet: its residuals for the reference, first of each half, are zero."""
    down, middle = outputs
    for residual in (*down, middle):
        residual[[0, len(residual) // 2]] = 0
    return down, middle


@torch.no_grad()
def encode(pipeline: Any, picture: Tensor) -> Tensor:
    """Latent (1, C, h, w) of a picture (1, 3, H, W): the posterior's mean, scaled.

    In float32 where the weights are in float16: SDXL's autoencoder overflows there, as its config says.
    """
    autoencoder = pipeline.vae
    precision = autoencoder.dtype
    upcast = precision == torch.float16 and autoencoder.config["force_upcast"]
    autoencoder.to(torch.float32 if upcast else precision)
    posterior = autoencoder.encode(picture.to(autoencoder.device, autoencoder.dtype) * 2 - 1).latent_dist
    autoencoder.to(precision)
    latent: Tensor = posterior.mode() * autoencoder.config["scaling_factor"]
    return latent.to(precision)


class StyleAligned:
    """`condition` is what the ControlNet sees of the content."""

    @checked
    def __init__(
        self,
        base: Weights,
        controlnet: Weights,
        condition: Callable[[Tensor], Tensor],
        resolution: Annotated[Resolution, Field(ge=128)],  # one token has no deviation
        resizing: Literal["square", "keep"],
        steps: Steps,
        inversion_guidance: NotNegative,
        guidance_scale: GuidanceScale,
        controlnet_scale: NotNegative,
        shift: float,
        scale: Positive,
        offset: Number,
        prompt: str,
        captions: Weights | None,
        reference: Count,
        device: str,
        dtype: Dtype,
    ) -> None:
        require(offset < steps, "offset is below steps", offset)
        precision = pick_dtype(dtype, pick_device(device))
        self.pipeline = load_pipeline(base, load_controlnet(base, controlnet, precision), device, precision)
        schedule = self.pipeline.scheduler.config
        # the notebook's own scheduler: timesteps 980, 960, ..., 0, where the model's would ask 981, 961, ..., 1
        options = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 0, "timestep_spacing": "leading"}
        self.sampler = DDIMScheduler.from_config(schedule, **options)
        self.inverter = DDIMInverseScheduler.from_config(schedule, **options)
        self.condition, self.captions = condition, Captions(captions, prompt)
        self.sharing = SharedAttention(shift, scale)
        self.read = PictureReader(resolution, resizing, self.pipeline.vae_scale_factor)
        self.reference, self.steps, self.offset = reference, steps, offset
        self.inversion_guidance, self.guidance_scale = inversion_guidance, guidance_scale
        self.controlnet_scale = controlnet_scale

    def invert(self, reference: Tensor, prompt: str, advance: Callable[[], None]) -> Tensor:
        """DDIM inversion of a picture: latents (steps + 1, C, h, w), noisiest first."""
        latents = [encode(self.pipeline, reference)]

        def keep(pipeline: Any, step: int, timestep: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            latents.append(tensors["latents"])
            advance()
            return {}

        self.pipeline.scheduler = self.inverter
        self.pipeline(
            prompt=prompt,
            image=reference,
            controlnet_conditioning_scale=0.0,
            num_inference_steps=self.steps,
            guidance_scale=self.inversion_guidance,
            latents=latents[0],
            output_type="latent",
            callback_on_step_end=keep,
        )
        return torch.cat(latents[::-1])

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        """Stylise one item with one of its references; every draw comes from `generator`."""
        require_reference(item, self.reference)
        content, references = self.read(item)
        reference = references[self.reference - 1]  # in the content's size, so that both are one batch
        reference = F.interpolate(reference, content.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
        caption = self.captions(item.references[self.reference - 1])
        watch = Stopwatch(self.pipeline.unet.device)
        with watch("inversion"):
            advance = progress.stage("inversion", self.steps)
            inverted = self.invert(reference, caption, advance)
        with watch("denoising"):
            image = self.sample(content, inverted, [caption, self.captions(item.content)], generator, progress)
        return Stylization(image, content, [reference], **watch.costs())

    def sample(
        self, content: Tensor, inverted: Tensor, prompts: list[str], generator: torch.Generator, progress: Progress
    ) -> Tensor:
        """The stylised picture, denoised beside the reference, whose latents are the inverted ones at every step."""
        advance = progress.stage("denoising", self.steps)

        def put_back(pipeline: Any, step: int, timestep: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            latents = tensors["latents"]
            latents[0] = inverted[max(self.offset, step) + 1]
            advance()
            return {"latents": latents}

        noise = torch.randn(inverted[:1].shape, generator=generator).to(inverted)
        self.pipeline.scheduler = self.sampler
        hook = self.pipeline.controlnet.register_forward_hook(blind_to_reference)
        try:
            layers = range(len(self_attention_layers(self.pipeline.unet)))
            with replaced_self_attention(self.pipeline.unet, layers, [self.sharing] * len(layers)):
                images = self.pipeline(
                    prompt=prompts,
                    image=self.condition(content).expand(2, -1, -1, -1),
                    controlnet_conditioning_scale=self.controlnet_scale,
                    num_inference_steps=self.steps,
                    guidance_scale=self.guidance_scale,
                    latents=torch.cat([inverted[self.offset][None], noise]),
                    generator=generator,
                    output_type="pt",
                    callback_on_step_end=put_back,
                ).images
        finally:
            hook.remove()
        return decoded(images[1:])
