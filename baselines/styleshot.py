"""StyleShot (Gao et al., arXiv 2407.01414): a style-aware encoder feeds six style tokens to Stable Diffusion 1.5.

Official code: open-mmlab/StyleShot at 0134435 (MIT); written here from its architecture. Settings: 50 steps of the
model's own scheduler, guidance 7.5, style and ControlNet scale 1, float32, the published negative prompt.

* Style: 8 / 16 / 32 patches of 128 / 64 / 32 px -> three embeddings -> two tokens each; the UNet attends to them
  beside the text (IP-Adapter's decoupled cross-attention, key and value projections from `adapter_modules`).
* Content: a ControlNet that sees the six style tokens instead of text, on contours (`styleshot`) or a line drawing
  (`styleshot_lineart`, a checkpoint of its own).

What differs: patches are shuffled with the run's generator (published: the global one, unseeded); prompts follow the
rule of baselines/captions.py, whose default is the published library's, "best quality, high quality" (published demo:
the literal "text prompt", or what the user types); the safety checker, which blackens art, is off. `ip.bin` also holds
a UNet, which is ignored as in the published code. One reference only: of several, number `reference` is
taken, by default the first.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop
from torchvision.transforms.functional import resize as resize_short_side

from baselines.captions import Captions
from baselines.conditions import Contour, Lineart
from baselines.controlnet import decoded, each_step, load_controlnet, load_pipeline
from baselines.inputs import PictureReader, require_reference
from baselines.networks.style_encoder import RESOLUTION, StyleAwareEncoder, cut_patches
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.devices import pick_device, pick_dtype
from stylegallery.images import read_image
from stylegallery.models.checkpoints import load_strictly, part, read_checkpoint
from stylegallery.settings import Count, Dtype, GuidanceScale, Resolution, Steps, Weights, checked
from stylegallery.stopwatch import Stopwatch
from stylegallery.weights import locate

TOKENS = 2  # per embedding


class StyleProjection(nn.Module):
    """An embedding (B, embedding) -> style tokens (B, 2, text width)."""

    def __init__(self, embedding: int, text_width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(embedding, TOKENS * text_width)
        self.norm = nn.LayerNorm(text_width)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.norm(self.proj(embedding).unflatten(1, (TOKENS, -1)))


class StyleShot:
    """`path` is the repository of one of the two checkpoints, `condition` the detector it was trained with."""

    @checked
    def __init__(
        self,
        base: Weights,
        path: Weights,
        condition: Contour | Lineart,
        resolution: Resolution,
        resizing: Literal["square", "keep"],
        steps: Steps,
        guidance_scale: GuidanceScale,
        prompt: str,
        negative_prompt: str,
        captions: Weights | None,
        reference: Count,
        device: str,
        dtype: Dtype,
        encoder_width: int = 1280,
        encoder_layers: int = 32,
        embedding: int = 1024,
    ) -> None:
        name = "styleshot_lineart" if isinstance(condition, Lineart) else "styleshot"
        folder = locate(path) / "pretrained_weight"
        state = read_checkpoint(folder / "ip.bin", name)
        precision = pick_dtype(dtype, pick_device(device))
        controlnet = load_controlnet(base, None, precision)
        load_strictly(controlnet, part(state, "controlnet"), folder / "ip.bin", name)
        self.pipeline = load_pipeline(base, controlnet, device, precision)
        text_width = self.pipeline.unet.config["cross_attention_dim"]
        self.projections = nn.ModuleList(StyleProjection(embedding, text_width) for _ in range(3))
        load_strictly(self.projections, part(state, "style_image_proj_modules"), folder / "ip.bin", name)
        install_adapter(self.pipeline.unet, part(state, "adapter_modules"), folder / "ip.bin", name)
        self.encoder = StyleAwareEncoder(encoder_width, encoder_layers, embedding)
        encoder_state = read_checkpoint(folder / "style_aware_encoder.bin", name)
        encoder_state.pop("image_encoder.vision_model.embeddings.position_ids", None)  # of older transformers
        load_strictly(self.encoder, encoder_state, folder / "style_aware_encoder.bin", name)
        self.device = self.pipeline.unet.device
        for module in (self.projections, self.encoder):
            module.to(self.device)
        self.condition, self.captions, self.negative_prompt = condition, Captions(captions, prompt), negative_prompt
        self.read = PictureReader(resolution, resizing, self.pipeline.vae_scale_factor)
        self.reference, self.steps, self.guidance_scale = reference, steps, guidance_scale

    @torch.no_grad()
    def style_tokens(self, reference: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens (2, 6, text width): those of zero embeddings for the negative side of the guidance, then the style's.

        reference: (1, 3, H, W) in [0, 1]. The patches of every size are shuffled, which decides their positions.
        """
        square = center_crop(resize_short_side(reference, RESOLUTION, antialias=True), [RESOLUTION])
        patches = [
            group[torch.randperm(len(group), generator=generator)].to(self.device) * 2 - 1
            for group in cut_patches(square)
        ]
        positive = self.encoder(patches)[0]
        pairs = torch.stack([torch.zeros_like(positive), positive], 1)  # (3, 2, embedding)
        return torch.cat([project(pair) for project, pair in zip(self.projections, pairs, strict=True)], 1)

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        """Stylise one item with one of its references; every draw comes from `generator`."""
        require_reference(item, self.reference)
        content, references = self.read(item)
        reference = references[self.reference - 1]
        watch = Stopwatch(self.device)
        with watch("style"):
            picture = read_image(item.references[self.reference - 1])  # as it is, not squashed to a square
            tokens = self.style_tokens(picture, generator).to(self.pipeline.dtype)
        hook = self.pipeline.controlnet.register_forward_pre_hook(
            lambda module, args, kwargs: (args, kwargs | {"encoder_hidden_states": tokens}), with_kwargs=True
        )
        try:
            with watch("denoising"):
                image = self.pipeline(
                    prompt=self.captions(item.content),
                    negative_prompt=self.negative_prompt,
                    image=self.condition(content),
                    ip_adapter_image_embeds=[tokens[:, None]],
                    num_inference_steps=self.steps,
                    guidance_scale=self.guidance_scale,
                    generator=generator,
                    output_type="pt",
                    callback_on_step_end=each_step(progress.stage("denoising", self.steps)),
                ).images
        finally:
            hook.remove()
        return Stylization(decoded(image), content, [reference], **watch.costs())


def install_adapter(unet: Any, state: dict[str, Tensor], source: Path, entry: str) -> None:
    """Let every cross-attention of the UNet attend to the style tokens beside the text.

    `state` numbers the attention layers as diffusers lists them, down, up, middle, self- and cross-attention in turn:
    the cross-attentions have the odd numbers. Tokens are passed as `image_embeds` and reach the layers as they are.
    """
    processors = dict(unet.attn_processors)
    adapters = nn.ModuleDict()
    for number, name in enumerate(processors):
        if number % 2:
            attention = unet.get_submodule(name.removesuffix(".processor"))
            adapters[str(number)] = IPAdapterAttnProcessor2_0(
                attention.to_q.out_features, attention.to_k.in_features, num_tokens=(3 * TOKENS,)
            )
    load_strictly(adapters, {key.replace("_ip.", "_ip.0."): value for key, value in state.items()}, source, entry)
    adapters.to(unet.device, unet.dtype)
    for number, name in enumerate(processors):
        if number % 2:
            processors[name] = adapters[str(number)]
    unet.set_attn_processor(processors)
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([nn.Identity()])
    unet.register_to_config(encoder_hid_dim_type="ip_image_proj")
