"""Read pretrained networks from local directories: the parts of a diffusers model, LoRAs, models of transformers."""

import importlib
import json
import re
import warnings
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from stylegallery.devices import pick_device
from stylegallery.errors import InputError, first_line
from stylegallery.models.single_file import clip_tokenizer, topology_of
from stylegallery.weights import local_path, locate

disable_progress_bar()  # of loading weights: it would break into the bars of a run

COMPONENT_LIBRARIES = {"diffusers", "transformers", "stylegallery.embedded.autoencoder"}
DAMAGED = (SafetensorError, JSONDecodeError, UnicodeDecodeError, EOFError)
SAID_OF_DAMAGED = ("Unable to load weights", "weights are missing", "valid JSON", "SafetensorError", "no mapping")
COMPONENT_KINDS = (ModelMixin, PreTrainedModel, PreTrainedTokenizerBase)
UNREADABLE = (OSError, LookupError, TypeError, AttributeError, ValueError, RuntimeError, SafetensorError)


def pretrained(family: Any, path: str, setting: str, device: str) -> Any:
    """A frozen network of transformers, by its class and a directory or hub name; `setting` is what chose the path.

    Raises:
        InputError: it is not on this machine, or the directory holds another model, or not all of its weights.
    """
    folder = locate(path)
    try:
        network = whole(family, folder, trust_remote_code=False)
    except UNREADABLE as error:
        raise unusable(folder, family.__name__, setting, error) from error
    return network.eval().requires_grad_(False).to(pick_device(device))


def unusable(place: Path, kind: str, setting: str, error: Exception) -> InputError:
    """What to tell of a model that cannot be read: only what is damaged is to be got again."""
    remedy = ""
    if isinstance(error, DAMAGED) or any(word in str(error) for word in SAID_OF_DAMAGED):
        remedy = "restore it or "
    elif isinstance(error, OSError):
        remedy = "add what is missing or "
    reason = f"{type(error).__name__}: {first_line(error)}"
    return InputError(f"{place} is not a readable {kind} ({reason}); {remedy}pass another {setting}")


def variant_of(folder: Path) -> str | None:
    """The variant of the weights that a folder holds, `fp16` of model.fp16.safetensors; None where the plain ones are
    there too."""
    stem = re.compile(r"(?:diffusion_pytorch_|pytorch_)?model(?:\.([\w-]+?))?(?:-\d{5}-of-\d{5})?\.(?:safetensors|bin)")
    variants = {match[1] for file in folder.glob("*") if (match := stem.fullmatch(file.name))}
    if None in variants:
        return None
    return "fp16" if "fp16" in variants else min(variants, default=None)


def whole(family: Any, folder: Path, **options: Any) -> Any:
    """A network of diffusers or transformers, in the variant that its folder holds.

    Raises:
        ValueError: weights are missing; both libraries only warn of those that they had to make up.
        UNREADABLE: whatever else they raise.
    """
    network, report = family.from_pretrained(
        folder, variant=variant_of(folder), local_files_only=True, output_loading_info=True, **options
    )
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
        return family.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(
            f"{folder} has no readable preprocessor_config.json; download it again or pass another {setting}"
        ) from error


# --- diffusers ---


@dataclass(frozen=True)
class ModelFiles:
    """A diffusion model on disk: the folder of its configs, which has its weights too unless they are in one file."""

    folder: Path
    file: Path | None

    @property
    def place(self) -> Path:
        """What the user passed, for messages."""
        return self.file or self.folder

    def part(self, name: str) -> Path:
        """The folder of a part; without this question the libraries would look for it on the hub."""
        if not (self.folder / name).is_dir():
            raise FileNotFoundError(f"it has no folder {name}")
        return self.folder / name

    def index(self) -> dict[str, Any]:
        """model_index.json, by which a part is of which class."""
        path = self.folder / "model_index.json"
        if not path.is_file() and (files := sorted(self.folder.glob("*.safetensors"))):
            raise InputError(
                f"{self.folder} has no model_index.json and is no diffusers model; if {files[0].name} holds a whole "
                "model, pass the path of that file"
            )
        index = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
            raise ValueError(f"{path.name} is no mapping with a _class_name")
        if "unet" not in index:
            raise InputError(
                f"{self.folder} is a {index['_class_name']}, which has no UNet; pass a model of Stable Diffusion 1.x, "
                "2.x or XL"
            )
        return index


def model_files(path: str) -> ModelFiles:
    """A diffusion model by its folder, name or hub repository as `locate`, or by a one-file checkpoint.

    Raises:
        InputError: as `locate` and `topology_of`.
    """
    if (local := local_path(path)) and local.is_file():
        return ModelFiles(topology_of(local), local)
    return ModelFiles(locate(path), None)


def component(index: dict[str, Any], part: str) -> Any:
    """The class that model_index.json names for a part.

    Raises:
        InputError: it is not of a library this project trusts, or no network or tokenizer but something that chooses
            code by what else is in the folder (`AutoModel`, pipelines).
    """
    library, name = index[part]
    if library not in COMPONENT_LIBRARIES:
        raise InputError(f"model_index.json asks for {library}.{name}, which is not one of {COMPONENT_LIBRARIES}")
    family = getattr(importlib.import_module(library), name)
    if not (isinstance(family, type) and issubclass(family, COMPONENT_KINDS)):
        raise InputError(f"model_index.json asks for {library}.{name} as {part}, which is no network or tokenizer")
    return family


def load(files: ModelFiles, index: dict[str, Any], part: str, dtype: torch.dtype) -> Any:
    """A network of the model, on the CPU."""
    family = component(index, part)
    if files.file is None:
        return whole(family, files.part(part), dtype=dtype)
    from diffusers.loaders import single_file_utils  # slow to import, and seldom needed

    options = {"config": str(files.folder), "subfolder": part, "local_files_only": True}
    try:
        if hasattr(family, "from_single_file"):
            network = family.from_single_file(str(files.file), **options)
        else:
            weights = single_file_utils.load_single_file_checkpoint(str(files.file))
            network = single_file_utils.create_diffusers_clip_model_from_ldm(family, weights, **options)
    except single_file_utils.SingleFileComponentError as error:
        raise ValueError(f"it has no weights for the {part}") from error
    except NotImplementedError as error:  # what the file lacks has no memory that could be moved
        raise ValueError(f"weights are missing of the {part}") from error
    if any(parameter.is_meta for parameter in network.parameters()):
        raise ValueError(f"weights are missing of the {part}")
    nn.Module.to(network, dtype)  # diffusers' own warns of modules that nobody named
    return network


def tokenizer_of(files: ModelFiles, index: dict[str, Any], part: str) -> Any:
    """A tokenizer of the model: `tokenizer` or, of SDXL, `tokenizer_2`."""
    if files.file is None:
        return component(index, part).from_pretrained(files.part(part))
    return clip_tokenizer("!") if part == "tokenizer_2" else clip_tokenizer()


@torch.no_grad()
def null_prompts(files: ModelFiles, index: dict[str, Any], unet: Any) -> list[Tensor]:
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
        tokenizer = tokenizer_of(files, index, f"tokenizer{number}")
        tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
        encoder = load(files, index, f"text_encoder{number}", torch.float32)
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
