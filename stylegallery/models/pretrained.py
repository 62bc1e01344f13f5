"""Pretrained networks from local directories: models of transformers, and the parts of a diffusion model."""

import importlib
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from torch import nn
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
    with reading(folder, family.__name__, setting):
        network = whole(family, folder, trust_remote_code=False)
    return network.eval().requires_grad_(False).to(pick_device(device))


@contextmanager
def reading(place: Path, kind: str, setting: str) -> Iterator[None]:
    """A context in which a model is read from a place that `setting` names; `kind` says what it should be.

    Raises:
        InputError: it cannot be read. The message asks to restore only what is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        remedy = ""
        if isinstance(error, DAMAGED) or any(word in str(error) for word in SAID_OF_DAMAGED):
            remedy = "restore it or "
        elif isinstance(error, OSError):
            remedy = "add what is missing or "
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"{place} is not a readable {kind} ({reason}); {remedy}pass another {setting}") from error


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
    """The image processor in the directory of a network of transformers."""
    folder = locate(path)
    try:
        return family.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(
            f"{folder} has no readable preprocessor_config.json; download it again or pass another {setting}"
        ) from error


# --- diffusion models ---


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
        """The folder of a part. Raises FileNotFoundError where it is missing: the libraries would ask the hub."""
        if not (self.folder / name).is_dir():
            raise FileNotFoundError(f"it has no folder {name}")
        return self.folder / name

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json: what kind of model it is, and the class of every part.

        Raises:
            InputError: there is none, but a file that may hold a whole model.
            OSError, ValueError: it is missing or damaged.
        """
        path = self.folder / "model_index.json"
        if not path.is_file() and (files := sorted(self.folder.glob("*.safetensors"))):
            raise InputError(
                f"{self.folder} has no model_index.json and is no diffusers model; if {files[0].name} holds a whole "
                "model, pass the path of that file"
            )
        index = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
            raise ValueError(f"{path.name} is no mapping with a _class_name")
        return index

    def denoiser(self, known: Collection[str]) -> str:
        """The part that predicts noise: the one of `known` that the index has.

        Raises:
            InputError: it has none of them. Else as `index`.
        """
        if part := next((part for part in known if part in self.index), None):
            return part
        raise InputError(
            f"{self.folder} is a {self.index['_class_name']}, which has no {' or '.join(known)}; pass a model of "
            "Stable Diffusion 1.x, 2.x or XL"
        )

    def component(self, part: str) -> Any:
        """The class that the index names for a part.

        Raises:
            InputError: it is not of a library this project trusts, or no network or tokenizer but something that
                chooses code by what else is in the folder (`AutoModel`, pipelines).
        """
        library, name = self.index[part]
        if library not in COMPONENT_LIBRARIES:
            raise InputError(f"model_index.json asks for {library}.{name}, which is not one of {COMPONENT_LIBRARIES}")
        family = getattr(importlib.import_module(library), name)
        if not (isinstance(family, type) and issubclass(family, COMPONENT_KINDS)):
            raise InputError(f"model_index.json asks for {library}.{name} as {part}, which is no network or tokenizer")
        return family

    def load(self, part: str, dtype: torch.dtype) -> Any:
        """A network of the model, on the CPU."""
        family = self.component(part)
        if self.file is None:
            return whole(family, self.part(part), dtype=dtype)
        from diffusers.loaders import single_file_utils  # slow to import, and seldom needed

        options = {"config": str(self.folder), "subfolder": part, "local_files_only": True}
        try:
            if hasattr(family, "from_single_file"):
                network = family.from_single_file(str(self.file), **options)
            else:
                weights = single_file_utils.load_single_file_checkpoint(str(self.file))
                network = single_file_utils.create_diffusers_clip_model_from_ldm(family, weights, **options)
        except single_file_utils.SingleFileComponentError as error:
            raise ValueError(f"it has no weights for the {part}") from error
        except NotImplementedError as error:  # what the file lacks has no memory that could be moved
            raise ValueError(f"weights are missing of the {part}") from error
        if any(parameter.is_meta for parameter in network.parameters()):
            raise ValueError(f"weights are missing of the {part}")
        nn.Module.to(network, dtype)  # diffusers' own warns of modules that nobody named
        return network

    def tokenizer(self, part: str) -> Any:
        """A tokenizer of the model: `tokenizer` or, of SDXL, `tokenizer_2`."""
        if self.file is None:
            return self.component(part).from_pretrained(self.part(part))
        return clip_tokenizer("!") if part == "tokenizer_2" else clip_tokenizer()


def model_files(path: str) -> ModelFiles:
    """A diffusion model by its folder, name or hub repository as `locate`, or by a one-file checkpoint."""
    if (local := local_path(path)) and local.is_file():
        return ModelFiles(topology_of(local), local)
    return ModelFiles(locate(path), None)
