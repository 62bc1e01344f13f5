"""Tiny random models of the classes that the configs load, saved as their repositories are."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers_parts import shake
from safetensors.torch import save_file
from transformers import (
    BitImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    Dinov2Model,
    DPTImageProcessor,
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.2", "conv1", "conv_shortcut", "time_emb_proj")


def variant(model: Path, folder: Path, unet: dict[str, Any] | None = None, **scheduler: Any) -> Path:
    """A copy of a directory with other settings of the scheduler, and a new random UNet where settings of it change."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | scheduler))
    if unet:
        config = UNet2DConditionModel.load_config(model / "unet") | unet
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    return folder


def save_lora(model: Path, file: Path, spread: float = 0.1) -> dict[str, torch.Tensor]:
    """A LoRA in the layout of LCM-LoRA's and Hyper-SD's files, of rank 2 and alpha 1; returns the UNet's weights with
    it: W + alpha / rank * up * down."""
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    expected = {name: weight.clone() for name, weight in unet.state_dict().items()}
    generator, layers = torch.Generator().manual_seed(4), {}
    for name, module in unet.named_modules():
        if name.endswith(LORA_TARGETS):
            shape = module.weight.shape
            down = spread * torch.randn(2, *shape[1:], generator=generator)
            up = spread * torch.randn(shape[0], 2, *(1,) * (len(shape) - 2), generator=generator)
            key = "lora_unet_" + name.replace(".", "_")
            layers |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.0)}
            expected[f"{name}.weight"] += 0.5 * (up.flatten(1) @ down.flatten(1)).view(shape)
    save_file(layers, file)
    return expected


def save_dinov2(folder: Path) -> Path:
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=56, patch_size=14, mlp_ratio=2
    )
    processor = BitImageProcessor(  # as in the repositories of DINOv2
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=3,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    return save(Dinov2Model, config, folder, processor)


def save_clip(folder: Path) -> Path:
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    return save(CLIPVisionModel, config, folder)


def save_depth_anything(folder: Path) -> Path:
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14, mlp_ratio=2,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, patch_size=14, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8, head_hidden_size=4,
    )  # fmt: skip
    size = {"height": 56, "width": 56}
    processor = DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14, resample=3)
    return save(DepthAnythingForDepthEstimation, config, folder, processor)


def save_sam(folder: Path) -> Path:
    vision = SamVisionConfig(
        hidden_size=16, output_channels=16, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=8,
        window_size=4, global_attn_indexes=[0], mlp_dim=16, num_pos_feats=8,
    )  # fmt: skip
    prompts = SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(hidden_size=16, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=8)
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    size = {"longest_edge": 64}
    processor = SamImageProcessor(size=size, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16})
    return save(SamModel, config, folder, processor)


def save(family: Any, config: Any, folder: Path, processor: Any = None) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = family(config)
    shake(network, 3, 0.1).save_pretrained(folder)  # heads start near zero: without it, pictures hardly differ
    if processor is not None:
        processor.save_pretrained(folder)
    return folder
