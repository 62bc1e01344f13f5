"""Diffusers directories written as one file in the key layout of the original Stable Diffusion code."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def weights_of(folder: Path) -> dict[str, Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def unet_key(name: str, attending: set[str]) -> str:
    """The original name of a UNet's weight; `attending` are the up blocks with attention."""
    for ours, theirs in OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs)
    module, rest = re.match(r"(\w+_block(?:s\.\d+)?\.\w+\.\d+)\.(.*)", name).groups()  # type: ignore[union-attr]
    side, *numbers = re.split(r"\.", module)
    kind, number = numbers[-2], int(numbers[-1])
    if kind == "resnets":
        inner, _, leaf = rest.rpartition(".")
        rest = f"{RESNET[inner]}.{leaf}"
    if side == "mid_block":
        return f"middle_block.{2 * number if kind == 'resnets' else 1}.{rest}"
    block = int(numbers[0])
    place = {"resnets": "0", "attentions": "1"}.get(kind)
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{3 * block + number + 1}.{place}.{rest}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * block + 2}.{2 if numbers[0] in attending else 1}.{rest}"
    return f"output_blocks.{3 * block + number}.{place}.{rest}"


def autoencoder_key(name: str) -> str:
    """The original name of a weight of an autoencoder of four blocks."""
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    for ours, theirs in ATTENTION.items():
        name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda found: f"up.{3 - int(found[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample", name)
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def save_one_file(model: Path, file: Path, text: bool = True, dtype: torch.dtype = torch.float32) -> Path:
    """The UNet, autoencoder and, for Stable Diffusion 1.x, text encoder of a directory."""
    unet = weights_of(model / "unet")
    attending = {name.split(".")[1] for name in unet if re.match(r"up_blocks\.\d\.attentions", name)}
    state = {f"model.diffusion_model.{unet_key(name, attending)}": value for name, value in unet.items()}
    for name, value in weights_of(model / "vae").items():
        key = autoencoder_key(name)
        state[f"first_stage_model.{key}"] = (
            value[..., None, None] if re.search(r"attn_1\.(q|k|v|proj_out)\.weight", key) else value
        )
    prefix = "cond_stage_model.transformer.text_model."
    if text:
        encoder = weights_of(model / "text_encoder")
        state |= {prefix + name.removeprefix("text_model."): value for name, value in encoder.items()}
        state[prefix + "embeddings.position_ids"] = torch.arange(4)[None]  # as older files have it
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    return file
