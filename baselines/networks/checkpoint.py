"""Published checkpoints: read without pickle, loaded strictly."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stylegallery.errors import InputError


def read_checkpoint(path: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.bin` file by their names; `name` is its entry in the table of weights.

    The file is mapped into memory, so that tensors nobody uses are never read.

    Raises:
        InputError: the file is missing or is not a checkpoint of tensors.
    """
    remedy = f"get it with: python -m stylegallery.weights fetch {name}"
    if not path.is_file():
        raise InputError(f"{path} is missing; {remedy}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(f"{path} is not a checkpoint of tensors ({first_line}); {remedy}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds something else than named tensors; {remedy}")
    return state


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Load `state` into `module` with every key and shape equal, and freeze it for inference.

    Raises:
        InputError: a key is missing or too many, or a shape differs.
    """
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        differences = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise InputError(f"{source} does not fit {type(module).__name__}: {differences[:300]}") from error
    module.eval().requires_grad_(False)


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names start with `prefix.`, without it."""
    return {key.removeprefix(prefix + "."): value for key, value in state.items() if key.startswith(prefix + ".")}
