"""Checkpoints, weight averages and the loss log of the training stages."""

import csv
import time
from pathlib import Path

import torch
from torch import nn


def save_checkpoint(path: Path, state: object) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def average_weights(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the running average of the weights towards the model's: decay · average + (1 − decay) · model."""
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


class Log:
    """Appends (stage, step, seconds, values...) to `log.csv` and prints them."""

    def __init__(self, work: Path, stage: str) -> None:
        self.path, self.stage, self.start = work / "log.csv", stage, time.time()

    def __call__(self, step: int, **values: float) -> None:
        row = [self.stage, step, round(time.time() - self.start), *(f"{k}={v:.4f}" for k, v in values.items())]
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(row)
        print(*row, flush=True)
