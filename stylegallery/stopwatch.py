"""Seconds and memory of a method, measured while it runs."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import torch


class Stopwatch:
    """Seconds per stage, added up, and peak memory of the process (of the GPU where there is one)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}  # not rounded: thousands of short blocks add up
        self.began = time.perf_counter()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def __call__(self, stage: str, others: Sequence["Stopwatch"] = ()) -> Iterator[None]:
        """Seconds of the block, in equal shares with other watches where it works for their items too."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = (time.perf_counter() - start) / (1 + len(others))
        for watch in (self, *others):
            watch.seconds[stage] = watch.seconds.get(stage, 0.0) + seconds

    def elapsed(self) -> float:
        """Seconds since this watch was made."""
        return time.perf_counter() - self.began

    def costs(self) -> dict[str, Any]:
        """What a `Stylization` tells of them, by its names."""
        seconds = {stage: round(value, 6) for stage, value in self.seconds.items()}
        return {"seconds": seconds, "peak_memory_mib": self.peak_memory_mib()}

    def peak_memory_mib(self) -> float:
        if self.device.type == "cuda":
            return round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)
        return round(process_peak_mib(), 1)


def process_peak_mib() -> float:
    """The most memory this process has had so far, MiB."""
    if sys.platform == "win32":  # which has no module `resource`
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
