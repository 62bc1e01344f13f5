"""Methods with the networks of their published shapes and no weights: on the meta device, where nothing is computed.

What the real code of a baseline does there has the shapes of a real run. Nothing is downloaded.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import torch
import transformers
from hydra.utils import instantiate
from torch import nn

from benchmarks.flops import META, Answers
from benchmarks.subjects import drawn, settings
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.single_file import TOPOLOGIES

XL, WITH_ADAPTER = ("instantstyle", "style_aligned"), ("ip_adapter", "instantstyle")
# Encoders of h94/IP-Adapter, read in its config.json: CLIP ViT-H/14 of the adapter for SD 1.5, ViT-bigG/14 of SDXL's.
VISION = {
    "sd1": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "projection_dim": 1024},
    "sdxl": {"hidden_size": 1664, "intermediate_size": 8192, "num_hidden_layers": 48, "projection_dim": 1280},
}


@cache
def stable_diffusion() -> DiffusionModel:
    with Answers():
        return drawn("sd1", META, torch.bfloat16)


def method_of(label: str, *overrides: str) -> Any:
    """The method of a row with its settings of conf/ on Stable Diffusion 1.5, on the meta device."""
    common = ("model=sd15", "model.dtype=bfloat16", "device=meta", "resizing=square")
    node = settings(f"method={label}", *common, *overrides)
    given = {"model": stable_diffusion()} if "model" in node else {}
    with without_files(label), META, Answers():
        return instantiate(node, **given, _convert_="all")


def pipeline_of(topology: str, adapter: bool) -> Any:
    """The pipeline that `load_pipeline` makes, with a ControlNet and, for an adapter, an image encoder."""
    xl = topology == "sdxl"

    def config(part: str, name: str = "config") -> Any:
        return json.loads((TOPOLOGIES / topology / part / f"{name}.json").read_text())

    def text(part: str, family: Any) -> Any:
        return family(transformers.CLIPTextConfig(**config(part)))

    tokenizer = transformers.CLIPTokenizer({"<|startoftext|>": 0, "<|endoftext|>": 1}, [], model_max_length=77)
    vision = transformers.CLIPVisionConfig(**VISION[topology], num_attention_heads=16, patch_size=14)
    with META:
        unet = diffusers.UNet2DConditionModel.from_config(config("unet"))
        networks = {
            "unet": unet,
            "vae": diffusers.AutoencoderKL.from_config(config("vae")),
            "controlnet": diffusers.ControlNetModel.from_unet(unet, load_weights_from_unet=False),
            "text_encoder": text("text_encoder", transformers.CLIPTextModel),
        }
        if adapter:
            networks["image_encoder"] = transformers.CLIPVisionModelWithProjection(vision)
        if xl:
            networks["text_encoder_2"] = text("text_encoder_2", transformers.CLIPTextModelWithProjection)
    parts = {name: nn.Module.to(network, torch.bfloat16) for name, network in networks.items()}
    parts |= {"tokenizer": tokenizer, "feature_extractor": transformers.CLIPImageProcessor() if adapter else None}
    scheduler: Any = diffusers.EulerDiscreteScheduler if xl else diffusers.PNDMScheduler
    with torch.device("cpu"):  # it computes with NumPy
        parts["scheduler"] = scheduler.from_config(config("scheduler", "scheduler_config"))
    pipeline: Any
    if xl:
        family: Any = diffusers.StableDiffusionXLControlNetPipeline
        pipeline = family(**parts, tokenizer_2=tokenizer, add_watermarker=False)
    else:
        family = diffusers.StableDiffusionControlNetPipeline
        pipeline = family(**parts, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_ip_adapter = partial(load_blank_adapter, pipeline)
    return pipeline


def load_blank_adapter(pipeline: Any, *_: Any, **__: Any) -> None:
    """`load_ip_adapter` of an adapter with four tokens, as the published ones without `plus` in their names."""
    unet, embedding = pipeline.unet, pipeline.image_encoder.config.projection_dim
    width = unet.config["cross_attention_dim"]
    blank = partial(torch.empty, device=META, dtype=torch.bfloat16)
    image = {"proj.weight": blank(4 * width, embedding), "proj.bias": blank(4 * width)}
    image |= {f"norm.{name}": blank(width) for name in ("weight", "bias")}
    layers: dict[str, torch.Tensor] = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            shape = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape
            layers |= {f"{number}.to_{kind}_ip.weight": blank(*shape) for kind in "kv"}
    type(pipeline).load_ip_adapter(pipeline, {"image_proj": image, "ip_adapter": layers}, subfolder="", weight_name="")


def depth_network(*_: Any) -> nn.Module:
    """Of the shape of Intel/dpt-hybrid-midas."""
    necks = {"neck_hidden_sizes": [256, 512, 768, 768], "neck_ignore_stages": [0, 1]}
    shape = transformers.DPTConfig(is_hybrid=True, readout_type="project", **necks)
    with META:
        return transformers.DPTForDepthEstimation(shape).eval()


@contextmanager
def without_files(label: str) -> Iterator[None]:
    """Within the context the baseline reads no weights: its networks are of the published shapes, without values."""
    replaced: dict[str, Any] = {
        "load_pipeline": lambda *_: pipeline_of("sdxl" if label in XL else "sd1", label in WITH_ADAPTER),
        "load_controlnet": lambda *_: None,
        "locate": Path,
        "read_checkpoint": lambda *_: {},
        "load_strictly": lambda *_: None,
        "model_files": lambda *_: None,
        "is_xl": lambda *_: label in XL,
        "pretrained": depth_network,
        "processor_of": lambda *_: transformers.DPTImageProcessor(size={"height": 384, "width": 384}),
    }
    with ExitStack() as stack:
        for module in ("conditions", "instantstyle", "ip_adapter", "style_aligned", "styleshot", "stytr2"):
            for name, stand_in in replaced.items():
                target = import_module(f"baselines.{module}")
                if hasattr(target, name):
                    stack.enter_context(patch.object(target, name, stand_in))
        yield
