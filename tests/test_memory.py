"""Memory that runs out: one sentence, and the process lives."""

import sys

import numpy as np
import pytest
import torch

from stylegallery import memory
from stylegallery.errors import InputError
from stylegallery.memory import enough_memory

SENTENCE = r"^this machine ran out of memory; pass a smaller resolution= or fewer references$"
linux = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="the limit is Linux's, on a CPU"
)


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


@linux
def test_what_is_there_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_left", lambda: 3 * 2**30)
    with enough_memory():
        assert torch.empty(2**31, dtype=torch.uint8).nbytes == 2**31


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError("std::bad_alloc")]
)
def test_whoever_says_it(error: Exception) -> None:
    with pytest.raises(InputError, match=SENTENCE), enough_memory():
        raise error
    with pytest.raises(RuntimeError, match="another"), enough_memory():
        raise RuntimeError("another")


@linux
def test_memory_that_is_left_is_a_number() -> None:
    assert 0 < memory.memory_left() < 2**50
