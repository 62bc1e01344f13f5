"""Read pretrained networks from local directories: the parts of a diffusers model, LoRAs, models of transformers."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.utils.logging import disable_progress_bar

from stylegallery.devices import pick_device
from stylegallery.errors import InputError, first_line
from stylegallery.weights import locate

disable_progress_bar()  # of loading weights: it would break into the bars of a run

COMPONENT_LIBRARIES = {"diffusers", "transformers", "stylegallery.embedded.autoencoder"}
UNREADABLE = (OSError, LookupError, TypeError, AttributeError, ValueError, RuntimeError, SafetensorError)


def pretrained(family: Any, path: str, setting: str, device: str) -> Any:
    """A frozen network of transformers, by its class and a directory or hub name; `setting` is what chose the path.

    Raises:
        InputError: it is not on this machine, or the directory holds another model, or not all of its weights.
    """
    folder = locate(path)
    try:
        network = whole(family.from_pretrained(folder, local_files_only=True, output_loading_info=True))
    except UNREADABLE as error:
        raise InputError(
            f"{folder} is not a readable {family.__name__} ({first_line(error)}); "
            f"download it again or pass another {setting}"
        ) from error
    return network.eval().requires_grad_(False).to(pick_device(device))


def whole(loaded: tuple[Any, dict[str, Any]]) -> Any:
    """What a `from_pretrained` of diffusers or transformers loaded; both only warn of weights they had to make up."""
    network, report = loaded
    absent = [*report["missing_keys"], *report["mismatched_keys"]]
    if absent:
        raise ValueError(f"{len(absent)} weights are missing or of another shape")
    return network


def processor_of(family: Any, path: str, setting: str) -> Any:
    """The image processor in the directory of a network of transformers.

    Raises:
        InputError: as `pretrained`.
    """
    folder = locate(path)
    try:
        return family.from_pretrained(folder, local_files_only=True)
    except UNREADABLE as error:
        raise InputError(
            f"{folder} has no readable preprocessor_config.json; download it again or pass another {setting}"
        ) from error


# --- diffusers ---


def component(index: dict[str, Any], part: str) -> Any:
    """The class that model_index.json names for a part; only from libraries this project trusts."""
    library, name = index[part]
    if library not in COMPONENT_LIBRARIES:
        raise InputError(f"model_index.json asks for {library}.{name}, which is not one of {COMPONENT_LIBRARIES}")
    return getattr(importlib.import_module(library), name)


def load(folder: Path, index: dict[str, Any], part: str, dtype: torch.dtype) -> Any:
    """A network of the directory, on the CPU."""
    options = {"dtype": dtype, "local_files_only": True, "output_loading_info": True}
    return whole(component(index, part).from_pretrained(folder / part, **options))


@torch.no_grad()
def null_prompts(folder: Path, index: dict[str, Any], unet: Any) -> list[Tensor]:
    """Embedding (1, n, d) of the empty prompt; for a UNet with added conditions also the pooled one (1, p).

    SDXL was trained with zeros in place of the empty prompt; its index says so, and no text encoder is needed.
    """
    if index.get("force_zeros_for_empty_prompt"):
        sizes = 6 * unet.config["addition_time_embed_dim"]
        pooled = unet.config["projection_class_embeddings_input_dim"] - sizes
        # One token will do: the attention to any number of zero values is zero.
        return [torch.zeros(1, 1, unet.config["cross_attention_dim"]), torch.zeros(1, pooled)]
    outputs = []
    for number in ("", "_2") if "text_encoder_2" in index else ("",):
        tokenizer = component(index, f"tokenizer{number}").from_pretrained(folder / f"tokenizer{number}")
        tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
        encoder = load(folder, index, f"text_encoder{number}", torch.float32)
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
