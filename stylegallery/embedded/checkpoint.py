"""Checkpoints and the loss log of the training stages."""

import csv
import time
from pathlib import Path

import torch


def save_checkpoint(path: Path, state: object) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


class Log:
    """Appends (stage, step, seconds, values...) to `log.csv` and prints them."""

    def __init__(self, work: Path, stage: str) -> None:
        self.path, self.stage, self.start = work / "log.csv", stage, time.time()

    def __call__(self, step: int, **values: float) -> None:
        row = [self.stage, step, round(time.time() - self.start), *(f"{k}={v:.4f}" for k, v in values.items())]
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(row)
        print(*row, flush=True)
