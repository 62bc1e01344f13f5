"""What computes a result: versions of libraries, the device, precision and threads."""

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from stylegallery.devices import cuda_trouble, pick_device, pick_dtype
from stylegallery.provenance import nodes

LIBRARIES = ("torch", "diffusers", "transformers", "scikit-learn", "numpy")


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """Versions of libraries, and the device (by its maker's name), precision and threads that a method computes with.

    `gpu` says why `device: auto` does not use a GPU that the machine seems to have. A method
    without the setting `device` has no network and computes on the CPU, one without `dtype` in float32.
    """
    found = [node for _, node in nodes(config)]
    asked = next((str(node["device"]) for node in found if "device" in node), "cpu")
    device = pick_device(asked)
    dtype = pick_dtype(next((str(node["dtype"]) for node in found if "dtype" in node), "float32"), device)
    on_gpu, trouble = device.type == "cuda", cuda_trouble()
    return versions() | {
        "device": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "place": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
        **({"gpu": f"not used: {trouble}"} if asked == "auto" and trouble and not on_gpu else {}),
    }


def computing_on(environment: Mapping[str, str]) -> str:
    """Where and how, in a line: `NVIDIA H200 (cuda), bfloat16`."""
    gpu = f"; the GPU is {environment['gpu']}" if "gpu" in environment else ""
    return f"{environment['device']} ({environment['place']}), {environment['dtype']}{gpu}"


@cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    return found | {"cuda": torch.version.cuda or "none"}


@cache
def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or another architecture
        return platform.processor() or platform.machine()
