"""Stable Diffusion's family of models (1.x, 2.x, XL): a UNet of diffusers, known by its blocks in this file alone.

Self-attention layers are numbered in execution order: down blocks, middle block, up blocks. Stable Diffusion 1.x has
sixteen of them, SDXL seventy; nothing here assumes either.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DDIMScheduler, LCMScheduler
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from stylegallery.errors import InputError, first_line
from stylegallery.models.attention import Attend, Recorder, SelfAttention
from stylegallery.models.diffusion import DiffusionModel, Schedule
from stylegallery.models.pretrained import UNREADABLE, ModelFiles, reading
from stylegallery.weights import locate_file


class UNetModel(DiffusionModel):
    """UNet, autoencoder, DDIM schedule and null prompt of a pretrained latent diffusion model.

    `null_prompt` is (1, n, d), `pooled_prompt` (1, p) for UNets that take size and pooled text as added conditions.
    `inversion_unet` is the one without the LoRA that accelerates the sampler, as published.
    """

    def __init__(
        self,
        unet: nn.Module,
        autoencoder: nn.Module,
        scheduler: DDIMScheduler,
        null_prompt: Tensor,
        pooled_prompt: Tensor | None = None,
        inversion_unet: nn.Module | None = None,
        sampler: DDIMScheduler | LCMScheduler | None = None,
    ) -> None:
        # Any: diffusers' models carry a `config` and methods that nn.Module's type does not know.
        self.unet = cast(Any, unet.eval().requires_grad_(False))
        self.inversion_unet = cast(Any, (inversion_unet or unet).eval().requires_grad_(False))
        self.null_prompt, self.pooled_prompt = null_prompt, pooled_prompt
        layer_count, device, dtype = len(self_attention_layers(unet)), null_prompt.device, null_prompt.dtype
        super().__init__(autoencoder, scheduler, sampler or scheduler, device, dtype, layer_count)

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        device: torch.device,
        dtype: torch.dtype,
        lora: str | None,
        schedule: Schedule,
        compile: bool,
        channels_last: bool,
    ) -> "UNetModel":
        with reading(files.place, "diffusers model", "model.path"):
            scheduler = DDIMScheduler.from_pretrained(files.part("scheduler"))
            unet = files.load("unet", dtype)
            autoencoder = files.load("vae", torch.float32)
            prompts = [prompt.to(device, dtype) for prompt in null_prompts(files, unet)]
            accelerated = files.load("unet", torch.float32) if lora else unet
        if not (dtype == torch.float16 and autoencoder.config.get("force_upcast")):  # SDXL's overflows there
            nn.Module.to(autoencoder, dtype)  # diffusers' own warns of modules that nobody named
        if lora:
            fuse_lora(accelerated, locate_file(lora))
            nn.Module.to(accelerated, dtype)
        sampler = scheduler
        if schedule == "trailing":
            sampler = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
        elif schedule == "lcm":
            sampler = LCMScheduler.from_config(scheduler.config)
        layout = torch.channels_last if channels_last else torch.preserve_format
        unet, accelerated, autoencoder = (
            network.to(device, memory_format=layout) for network in (unet, accelerated, autoencoder)
        )
        if compile:
            for network in {unet, accelerated}:
                compile_blocks(network)
        pooled = prompts[1] if len(prompts) == 2 else None
        return cls(accelerated, autoencoder, scheduler, prompts[0], pooled, unet, sampler)

    def predict(self, latents: Tensor, timestep: int | Tensor) -> Tensor:
        return self.run(self.unet, latents, timestep)

    def predict_with_features(self, latents: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
        """Features are the output of the UNet's third up block (paper §3.1)."""
        with recorded_features(self.inversion_unet) as features:
            prediction = self.run(self.inversion_unet, latents, timestep)
        return prediction, features[0]

    def run(self, unet: Any, latents: Tensor, timestep: int | Tensor) -> Tensor:
        """The output of either UNet."""
        count = len(latents)
        conditions: dict[str, Any] = {"encoder_hidden_states": self.null_prompt.expand(count, -1, -1)}
        if self.pooled_prompt is not None:
            height, width = (side * self.stride for side in latents.shape[-2:])
            # of the picture before and after the crop of training, and where that crop began
            sides = (height, width, 0, 0, height, width)
            # filled on the device: torch.tensor would copy from the CPU's memory
            sizes = torch.stack([torch.full((count,), float(side), device=self.device) for side in sides], 1)
            conditions["added_cond_kwargs"] = {"text_embeds": self.pooled_prompt.expand(count, -1), "time_ids": sizes}
        prediction: Tensor = unet(latents, timestep, **conditions).sample
        return prediction

    def replaced_self_attention(
        self, layers: Sequence[int], attends: Sequence[Attend]
    ) -> AbstractContextManager[None, bool | None]:
        return replaced_self_attention(self.unet, layers, attends)


# --- a UNet's layers ---


@contextmanager
def recorded_features(unet: nn.Module) -> Iterator[list[Tensor]]:
    """Within the context every call of the UNet appends the features (B, C', h', w') that stage 1 clusters."""
    features: list[Tensor] = []
    block = cast(Any, unet).up_blocks[2]
    hook = block.register_forward_hook(lambda module, inputs, output: features.append(output))
    try:
        yield features
    finally:
        hook.remove()


def self_attention_layers(unet: nn.Module) -> list[str]:
    """Names of all self-attention modules of a diffusers UNet in execution order."""
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}

    def execution_key(name: str) -> tuple[int, list[int]]:
        return order[name.split(".")[0]], [int(number) for number in re.findall(r"\.(\d+)", name)]

    names = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and not module.is_cross_attention and name.split(".")[0] in order
    ]
    return sorted(names, key=execution_key)


class Processor:
    """Attention processor of diffusers: self-attention whose output the function `attend` computes."""

    def __init__(self, attend: Attend) -> None:
        self.attend = attend

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Hidden states (B, tokens, C) -> the layer's output of that shape."""
        query, key, value = (
            projection(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projection in (attn.to_q, attn.to_k, attn.to_v)
        )
        output: Tensor = attn.to_out[0](self.attend(query, key, value).transpose(1, 2).flatten(2))
        return output


@contextmanager
def replaced_self_attention(unet: nn.Module, layers: Sequence[int], attends: Sequence[Attend]) -> Iterator[None]:
    """`DiffusionModel.replaced_self_attention` of a UNet."""
    names = self_attention_layers(unet)
    if not all(0 <= layer < len(names) for layer in layers):
        raise IndexError(f"the model has self-attention layers 0..{len(names) - 1}, asked for {list(layers)}")
    modules = [cast(Any, unet.get_submodule(names[layer])) for layer in layers]
    originals = [module.processor for module in modules]
    try:
        for module, attend in zip(modules, attends, strict=True):
            module.processor = Processor(attend)
        yield
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.processor = original


@contextmanager
def record_self_attention(unet: nn.Module, layers: Sequence[int]) -> Iterator[list[SelfAttention]]:
    """Within the context every UNet call appends one `SelfAttention` per listed layer, in execution order."""
    recorder = Recorder()
    with replaced_self_attention(unet, layers, [recorder] * len(layers)):
        yield recorder.records


# --- what `load` needs ---


@torch.no_grad()
def null_prompts(files: ModelFiles, unet: Any) -> list[Tensor]:
    """Embedding (1, n, d) of the empty prompt; for a UNet with added conditions also the pooled one (1, p).

    SDXL was trained with zeros in place of the empty prompt; its index says so, and no text encoder is needed.
    """
    if files.index.get("force_zeros_for_empty_prompt"):
        sizes = 6 * unet.config["addition_time_embed_dim"]
        pooled = unet.config["projection_class_embeddings_input_dim"] - sizes
        # One token will do: the attention to any number of zero values is zero.
        return [torch.zeros(1, 1, unet.config["cross_attention_dim"]), torch.zeros(1, pooled)]
    outputs = []
    for number in ("", "_2") if "text_encoder_2" in files.index else ("",):
        tokenizer = files.tokenizer(f"tokenizer{number}")
        tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
        encoder = files.load(f"text_encoder{number}", torch.float32)
        outputs.append(encoder(tokens.input_ids, output_hidden_states=True))
    if len(outputs) == 1:
        return [outputs[0].last_hidden_state]
    return [torch.cat([output.hidden_states[-2] for output in outputs], -1), outputs[1].text_embeds]


def fuse_lora(unet: Any, file: Path) -> None:
    """Add a LoRA (diffusers, PEFT or Kohya layout) to the weights of a UNet; its part for the text encoder is left out.

    Raises:
        InputError: the file is no LoRA or one of another model.
    """
    from diffusers.loaders import StableDiffusionLoraLoaderMixin as mixin  # slow to import, and seldom needed

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # PEFT's, where it would leave a part of the file out
            weights, alphas = mixin.lora_state_dict(str(file), unet_config=unet.config)
            if not any(name.startswith("unet.") for name in weights):
                raise ValueError("it holds nothing for a UNet")
            mixin.load_lora_into_unet(weights, alphas, unet)
        unet.fuse_lora()
        unet.unload_lora()
    except (*UNREADABLE, RuntimeWarning) as error:
        raise InputError(
            f"{file} is not a LoRA of this model ({type(error).__name__}: {first_line(error)}); pass another model.lora"
        ) from error


def compile_blocks(unet: nn.Module) -> None:
    """Compile, on their first call, the blocks around attention; hooks and attention processors stay outside.

    All blocks of a class would share one limit of variants, which the widths of a UNet alone use up.
    """
    from torch._inductor import config  # slow to import: PyTorch's own switch for both would do so in every run

    config.deterministic = True
    for module in unet.modules():
        if isinstance(module, ResnetBlock2D | FeedForward):
            module.compile(isolate_recompiles=True, dynamic=True)
