"""Published checkpoints: read without pickle, loaded strictly."""

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from stylegallery.errors import InputError, first_line
from stylegallery.weights import FETCH, find

# Training settings and counters that checkpoints hold beside their tensors: data without code of their own.
SCALAR: Any = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.dtypes.Float64DType,
    SCALAR,
    (SCALAR, "numpy.core.multiarray.scalar"),
]


def read_checkpoint(path: Path, name: str) -> dict[str, Any]:
    """What a file holds by name, mostly tensors; `name` is its entry in the table of weights.

    A file of PyTorch is mapped into memory, so that tensors nobody uses are never read.

    Raises:
        InputError: the file is missing, cannot be read or is no checkpoint.
    """
    if not path.is_file():
        where = f"get it with: {FETCH} {name}" if ours(path, name) else "add it there, or pass another folder"
        raise InputError(f"{path} is missing; {where}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(HARMLESS):
            state = dict(torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or first_line(error)}); check the file") from error
    except MemoryError:
        raise
    except Exception as error:  # the readers raise errors of any type on damaged bytes
        raise damaged(path, name, error) from error
    if not all(isinstance(key, str) for key in state):
        raise damaged(path, name, TypeError("its entries have no names"))
    return state


def ours(path: Path, name: str) -> bool:
    """Whether a file lies where `fetch` puts those of an entry; a file of the user's cannot be fetched again."""
    entry = find(name)
    return entry is not None and not {entry.root().absolute(), entry.root().resolve()}.isdisjoint(
        path.absolute().parents
    )


def remedy(path: Path, name: str) -> str:
    return f"delete it and run: {FETCH} {name}" if ours(path, name) else "restore it, or pass another"


def damaged(path: Path, name: str, error: Exception) -> InputError:
    return InputError(f"{path} is damaged ({first_line(error)}); {remedy(path, name)}")


def load_strictly(network: nn.Module, state: Mapping[str, Any], source: Path, name: str) -> None:
    """Load `state` into `network` with every key and shape equal, and freeze it for inference.

    A network on the meta device takes the precision of the file, any other keeps its own.

    Raises:
        InputError: a key is missing or too many, or a shape differs.
    """
    meta = any(parameter.is_meta for parameter in network.parameters())
    try:  # a clone does not keep the mapped file
        network.load_state_dict({key: value.clone() for key, value in state.items()} if meta else state, assign=meta)
    except (RuntimeError, AttributeError) as error:  # no tensor
        raise unfit(source, name, type(network).__name__, error) from error
    network.eval().requires_grad_(False)


def unfit(source: Path, name: str, network: str, error: Exception) -> InputError:
    differences = " ".join(line.strip() for line in str(error).splitlines()[1:3])[:300] or first_line(error)
    fit = "pass the sizes and the model that it was made for, or"
    return InputError(f"{source} does not fit {network} ({differences}); {fit} {remedy(source, name)}")


def part(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The entries whose names start with `prefix.`, without it."""
    return {key.removeprefix(prefix + "."): value for key, value in state.items() if key.startswith(prefix + ".")}
