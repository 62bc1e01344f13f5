"""Memory that runs out: one sentence, and the process lives."""

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from stylegallery import memory
from stylegallery.errors import InputError
from stylegallery.memory import enough_memory

SENTENCE = r"^this machine ran out of memory; pass a smaller resolution= or fewer references$"
linux = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="the limit is Linux's, on a CPU"
)


@pytest.mark.slow
@linux
@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_what_linux_would_promise_is_refused(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """A gibibyte more than there is: promised, never touched, and granted again afterwards."""
    monkeypatch.setattr(memory, "memory_left", lambda: 0)

    def take() -> object:
        return torch.empty(2**31, dtype=torch.uint8) if library == "torch" else np.empty(2**31, np.uint8)

    with pytest.raises(InputError, match=SENTENCE), enough_memory():
        take()
    take()


@pytest.mark.slow
@linux
def test_what_is_there_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_left", lambda: 3 * 2**30)
    with enough_memory():
        assert torch.empty(2**31, dtype=torch.uint8).nbytes == 2**31


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("OpenCV(4.10.0) error: (-4:Insufficient memory) Failed to allocate 3 bytes"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_whoever_says_it(error: Exception) -> None:
    with pytest.raises(InputError, match=SENTENCE), enough_memory():
        raise error
    with pytest.raises(RuntimeError, match="another"), enough_memory():
        raise RuntimeError("another")


def test_a_sentence_that_is_there_stays() -> None:
    with pytest.raises(InputError, match=r"^sd15 cannot be read \(std::bad_alloc\); restore it$"), enough_memory():
        raise InputError("sd15 cannot be read (std::bad_alloc); restore it")


@linux
def test_memory_that_is_left_is_a_number() -> None:
    assert 0 < memory.memory_left() < 2**50


@linux
def test_a_container_leaves_what_this_process_has_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it has a limit at all."""
    names = ("missing", "unlimited", "limited")
    monkeypatch.setattr(memory, "LIMITS", tuple(str(tmp_path / name) for name in names))
    (tmp_path / "unlimited").write_text("max\n")
    (tmp_path / "limited").write_text(f"{psutil.Process().memory_info().rss + 100 * 2**20}\n")
    assert memory.memory_left() == pytest.approx(100 * 2**20, abs=20 * 2**20)
