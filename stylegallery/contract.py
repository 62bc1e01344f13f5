"""The contract of a method: `stylize(item, generator, progress) -> Stylization`. StyleGallery and every baseline
are this and nothing more."""

import inspect
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import psutil
import torch
from torch import Tensor

from data.benchmark import Item
from stylegallery.errors import InputError, require
from stylegallery.matching import Match

if TYPE_CHECKING:  # loads diffusers and scikit-learn: seconds that a message or a table need not wait for
    from stylegallery.guidance import Energy


TOLERANCE = 1e-3  # of a picture's range, for rounding


@dataclass(frozen=True)
class Stylization:
    """Result of a method on one item.

    image, content and references are (1, 3, H, W) float32 in [0, 1], the latter two as the method saw them;
    label maps, matches and energies stay empty for methods that have none.
    """

    image: Tensor
    content: Tensor
    references: list[Tensor]
    content_labels: Tensor | None = None
    reference_labels: list[Tensor] = field(default_factory=list)
    matches: list[Match] = field(default_factory=list)
    energies: "list[Energy]" = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: float = 0.0

    def __post_init__(self) -> None:
        """Raises InputError where a picture has another form, FloatingPointError where one is not finite."""
        references = {f"reference {number}": picture for number, picture in enumerate(self.references, 1)}
        for name, picture in {"image": self.image, "content": self.content, **references}.items():
            form = f"{picture.dtype} {tuple(picture.shape)}" if isinstance(picture, Tensor) else type(picture).__name__
            fits = form.startswith("torch.float32 (1, 3, ") and picture.ndim == 4
            require(fits, f"a method's {name} is a float32 tensor of shape (1, 3, height, width)", form)
            if not picture.isfinite().all():
                raise FloatingPointError(f"the method's {name} is not finite")
            low, high = picture.min().item(), picture.max().item()
            rule = f"values of a method's {name} lie between 0 and 1"
            require(low >= -TOLERANCE and high <= 1 + TOLERANCE, rule, f"between {low:.3g} and {high:.3g}")


def require_method(made: Any, name: str) -> None:
    """Raises InputError unless an object has `stylize(item, generator, progress)`, whose progress may be left out."""
    try:
        signature = inspect.signature(made.stylize)
        signature.bind(None, None)
        signature.bind(None, None, None)
    except (AttributeError, TypeError) as error:
        raise InputError(
            f"{name} is no method ({error}); give it stylize(item, generator, progress=Silent()), as in "
            "baselines/identity.py"
        ) from error


class Progress(Protocol):
    """Shows stages: `stage(name, steps)` opens one and returns the call that advances it by one step."""

    def stage(self, name: str, steps: int) -> Callable[[], None]: ...


class Silent:
    """A progress that shows nothing."""

    def stage(self, name: str, steps: int) -> Callable[[], None]:
        return lambda: None


class Method(Protocol):
    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization: ...


class Stopwatch:
    """Seconds per stage and peak memory of the process (of the GPU where there is one)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[stage] = round(time.perf_counter() - start, 3)

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
