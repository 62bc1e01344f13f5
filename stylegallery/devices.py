"""Devices and precisions of networks, and what makes the same settings give the same bytes on one machine."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import get_args

import torch

from stylegallery.errors import MachineError, require
from stylegallery.settings import Dtype

NVIDIA = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")  # a driver's files; the last is WSL's


def pick_device(name: str, repeatable: bool = True) -> torch.device:
    """`auto` is CUDA where PyTorch can use it, else the CPU (`cuda_trouble` says why). The call also makes this
    process compute repeatably, unless `repeatable` is false.

    Every network of this project is put on its device by this call: methods, encoders and metrics, from the command
    line or from another program.

    Raises:
        MachineError: there is no such device.
    """
    if repeatable:
        make_repeatable()
    trouble = cuda_trouble()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        why = f" ({trouble})" if trouble and name.startswith("cuda") else ""
        raise MachineError(f"device {name} is not to be had here{why}; pass device=cpu or device=auto") from error


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Precision of a network's weights; `auto` is bfloat16 on a GPU that computes in it, else float32.

    Raises:
        SettingsError: there is no such precision.
    """
    known = get_args(Dtype)
    require(name in known, f"dtype is one of {', '.join(known)}", name)
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if native else torch.float32
    precision: torch.dtype = getattr(torch, name)
    return precision


@cache
def cuda_trouble() -> str:
    """Why PyTorch does not use the NVIDIA GPU that this machine seems to have; empty where it does or there is none.

    PyTorch warns of a driver that it cannot use once in a process, at the first call.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return ""
    if said := " ".join(str(warning.message) for warning in caught):
        return " ".join(said.partition(" (Triggered internally")[0].split())
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None or not any(Path(place).exists() for place in NVIDIA):
        return ""
    return "PyTorch is built without CUDA" if torch.version.cuda is None else "PyTorch finds no GPU behind the driver"


def make_repeatable() -> None:
    """Make PyTorch prefer algorithms that repeat, in this whole process; float32 is float32 (no TF32).

    cuDNN's attention, which PyTorch prefers on H100 and later, is switched off: its gradient varies in every mode.
    """
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def repeatable_gradients() -> Iterator[None]:
    """Within this context PyTorch raises an error instead of computing what does not repeat.

    It holds the forward and the backward pass, as the forward pass chooses the kernel of attention. The gradients of
    flash and memory-efficient attention repeat only in this mode, not in the one that warns.
    """
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
