"""Memory that runs out, on a GPU or not, as one sentence instead of a traceback or a killed process.

PyTorch is imported where it is asked: it takes seconds, which commands that compute nothing need not wait for.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from stylegallery.errors import InputError, OutOfMemory

SLACK = 2**30  # bytes that are reserved and never used: stacks of threads, pools of allocators
LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of a container, by either version of cgroups
SAYS = ("DefaultCPUAllocator", "bad_alloc", "Insufficient memory", "Cannot allocate memory")  # PyTorch, C++, OpenCV, OS


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raises OutOfMemory where the GPU or the machine has too little memory."""
    try:
        with only_what_is_there():
            yield
    except Exception as error:
        if isinstance(error, InputError) or not ran_out(error):
            raise
        import torch

        place = "the GPU" if isinstance(error, torch.OutOfMemoryError) else "this machine"
        smaller = "model.dtype=bfloat16, a smaller resolution=" if place == "the GPU" else "a smaller resolution="
        raise OutOfMemory(f"{place} ran out of memory; pass {smaller} or fewer references") from error


def require_memory(size: float, what: str) -> None:
    """Raises OutOfMemory where `what` needs more bytes than this machine has left."""
    left = memory_left()
    if size > left:
        raise OutOfMemory(
            f"{what} need {size / 2**30:,.1f} GiB of memory, and this machine has {left / 2**30:,.1f} GiB left; pass a "
            "smaller resolution="
        )


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in SAYS)


@contextmanager
def only_what_is_there() -> Iterator[None]:
    """Let an allocation fail where memory runs out: Linux would grant it and later kill the process that uses it.

    There is no such limit where a GPU is used, since its driver reserves more than it uses.
    """
    import torch

    if sys.platform != "linux" or torch.cuda.is_available():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [psutil.Process().memory_info().data + memory_left() + SLACK, *before]
    most = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_DATA, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def memory_left() -> int:
    """Bytes that this process may still use, by the machine and by its container."""
    left: int = psutil.virtual_memory().available + psutil.swap_memory().free
    for name in LIMITS:
        try:
            limit = int((Path("/sys/fs/cgroup") / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # the file is missing, or says `max`
            continue
        left = min(left, limit - psutil.Process().memory_info().rss)
    return left
