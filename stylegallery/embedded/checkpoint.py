"""Checkpoints, weight averages, reproducible draws and the loss log of the training stages."""

import csv
import random
import time
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from stylegallery.files import replacing


def save_checkpoint(path: Path, state: object) -> None:
    with replacing(path) as temporary:
        torch.save(state, temporary)


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
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
        print(*row, flush=True)
