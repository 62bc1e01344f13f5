"""Tiny random diffusers directories beside `tiny_model`: a ControlNet, an SDXL, an IP-Adapter."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)


def shake(module: nn.Module, seed: int, spread: float = 0.05) -> nn.Module:
    """Noise on every parameter: a ControlNet that is as new changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return module


def save_controlnet(model: Path, folder: Path) -> Path:
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    shake(ControlNetModel.from_unet(unet), 5).save_pretrained(folder)
    return folder


def save_xl(model: Path, folder: Path) -> Path:
    """SDXL's topology, 16 px wide: two text encoders, three down blocks of which two attend; tokenizer of `model`."""
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=4, bos_token_id=0, eos_token_id=1, pad_token_id=1, projection_dim=16,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        CLIPTextModel(text).save_pretrained(folder / "text_encoder")
        CLIPTextModelWithProjection(text).save_pretrained(folder / "text_encoder_2")
        UNet2DConditionModel(
            sample_size=8, block_out_channels=(16, 32, 32), layers_per_block=2, norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2), attention_head_dim=(2, 4, 4), use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=8, cross_attention_dim=32,
            projection_class_embeddings_input_dim=16 + 6 * 8,
        ).save_pretrained(folder / "unet")  # fmt: skip
    AutoencoderKL.from_pretrained(model / "vae").save_pretrained(folder / "vae")
    for name in ("tokenizer", "tokenizer_2"):
        tokenizer.save_pretrained(folder / name)
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    ).save_pretrained(folder / "scheduler")
    parts = {
        "vae": "AutoencoderKL", "unet": "UNet2DConditionModel", "scheduler": "EulerDiscreteScheduler",
    }  # fmt: skip
    index: dict[str, object] = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
    index |= {name: ["diffusers", kind] for name, kind in parts.items()}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    index |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    index |= {"tokenizer_2": ["transformers", "CLIPTokenizer"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def cross_attention_shapes(model: Path) -> dict[int, tuple[int, int]]:
    """Number of every cross-attention layer -> (its width, the text's), numbered as IP-Adapter's checkpoints do:
    all attention layers as diffusers lists them."""
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(model / "unet"))
    shapes = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            projection = unet.get_submodule(name.removesuffix(".processor")).to_k
            shapes[number] = (projection.out_features, projection.in_features)
    return shapes


def save_adapter(model: Path, folder: Path, file: str) -> Path:
    """An IP-Adapter of the layout of h94/IP-Adapter: `file` and, beside it, image_encoder."""
    shapes = cross_attention_shapes(model)
    text_width = next(iter(shapes.values()))[1]
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    state = {
        "image_proj.proj.weight": draw(4 * text_width, 8),
        "image_proj.proj.bias": draw(4 * text_width),
        "image_proj.norm.weight": draw(text_width),
        "image_proj.norm.bias": draw(text_width),
    }
    for number, shape in shapes.items():
        state |= {f"ip_adapter.{number}.to_{kind}_ip.weight": draw(*shape) for kind in "kv"}
    path = folder / file
    path.parent.mkdir(parents=True)
    save_file(state, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        vision = CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32,
            patch_size=8, projection_dim=8,
        )  # fmt: skip
        encoder = shake(CLIPVisionModelWithProjection(vision), 4, 0.5)
    encoder.save_pretrained(path.parent / "image_encoder")
    return folder
