"""Seconds of stages."""

import time

import pytest
import torch

from stylegallery.stopwatch import Stopwatch


def test_short_blocks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2000):
        with watch("matching"):
            now += 0.0003
    assert watch.costs()["seconds"] == {"matching": 0.6}
