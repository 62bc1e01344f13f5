"""Checkpoints, weight averages, reproducible draws and the loss log of the training stages."""

import csv
import random
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from stylegallery.errors import InputError, MachineError
from stylegallery.files import replacing, writable

ROOM = "make room; the same command goes on from the last checkpoint"


def save_whole(path: Path, state: object) -> None:
    """Raises MachineError where there is no room; what was there stays."""
    with writable(path, ROOM), replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def save_parts(path: Path, parts: Mapping[str, Any], step: int) -> None:
    """Write what `resume` reads: parts with state, and the steps they made.

    Raises InputError where weights are no numbers any more, and keeps the last checkpoint, which has better ones.
    """
    weights = [tensor for part in parts.values() if isinstance(part, nn.Module) for tensor in part.parameters()]
    if not all(tensor.isfinite().all() for tensor in weights):
        raise InputError(f"step {step}: weights are no finite numbers; {path} keeps an earlier step, pass a lower --lr")
    save_whole(path, {name: part.state_dict() for name, part in parts.items()} | {"step": step})


def resume(path: Path, parts: Mapping[str, Any], device: torch.device) -> int:
    """Set the parts to what a checkpoint holds and return its step, 0 where there is none yet.

    Raises InputError for a checkpoint of other parts, or none at all.
    """
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])
    except Exception as error:  # bytes that are none make an unpickler raise anything
        raise InputError(f"{path} is no checkpoint of this model; remove it or pass another --work") from error


def trained(folder: Path, remedy: str) -> Path:
    """A folder of a diffusers model. Raises InputError with that remedy where it is none."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model in diffusers layout; {remedy}")
    return folder


def save_model(folder: Path, model: ModelMixin) -> None:
    """A folder of diffusers, file by file in the place of those that are there: after a kill it can still be read."""
    partial = folder.with_name(f".{folder.name}.tmp")
    try:
        with writable(folder, ROOM):
            model.save_pretrained(partial)
            folder.mkdir(exist_ok=True)
            for path in partial.iterdir():
                path.replace(folder / path.name)
    except SafetensorError as error:  # its name of the system's errors
        raise MachineError(f"{folder} cannot be written ({error}); {ROOM}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def average_weights(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the running average of the weights towards the model's: decay · average + (1 − decay) · model."""
    with torch.no_grad():
        get_ema_multi_avg_fn(decay)([*average.parameters()], [*model.parameters()], 0)


def step_generators(seed: int, step: int, device: torch.device) -> tuple[torch.Generator, torch.Generator]:
    """What a step draws its batch (on the CPU) and its noise (on the device) from, whatever was drawn before."""
    draw = random.Random(f"{seed} {step}")
    batch, noise = torch.Generator(), torch.Generator(device)
    return batch.manual_seed(draw.randrange(2**62)), noise.manual_seed(draw.randrange(2**62))


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the device multiplies it fast: a GPU, or a CPU with AVX-512 BF16 (others are 20 times slower)."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


class Log:
    """Appends (stage, step, seconds, values...) to `log.csv` and prints them."""

    def __init__(self, work: Path, stage: str) -> None:
        self.path, self.stage, self.start = work / "log.csv", stage, time.time()

    def __call__(self, step: int, **values: float) -> None:
        row = [self.stage, step, round(time.time() - self.start), *(f"{k}={v:.4f}" for k, v in values.items())]
        with writable(self.path, ROOM), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
        print(*row, flush=True)
