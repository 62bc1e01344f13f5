"""The contract of a method: `stylize(item, generator, progress) -> Stylization`. StyleGallery and every baseline are
this and nothing more. Everything else of the project imports this module, and it imports none of it.

Region maps: an int64 tensor (h, w) on the latent grid says which region every cell belongs to. 0 is nothing, regions
are 1..R without gaps. Pictures are float32 (1, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from stylegallery.errors import InputError, require

if TYPE_CHECKING:  # it takes seconds to import, which commands that only read results need not wait for
    import torch
    from torch import Tensor

TOLERANCE = 1e-3  # of a picture's range, for rounding
SHOWN_REFERENCES = 6  # where fewer are matched

Region = int | tuple[float, float]  # its number, or a point (x, y) in it, in fractions of the picture from its top left
RegionName = TypeVar("RegionName", bound=Region)


@dataclass(frozen=True)
class MatchConstraints(Generic[RegionName]):
    """What the user decided about matches. Regions and references are numbered from 1; a point in a picture names the
    region that is found there.

    pins: content region -> (reference, region). excluded: references that no region may use unless it is pinned to one.
    forbidden: triples (content region, reference, region) that are no match unless pinned.
    """

    pins: Mapping[RegionName, tuple[int, RegionName]] = field(default_factory=dict)
    excluded: Sequence[int] = ()
    forbidden: Sequence[tuple[RegionName, int, RegionName]] = ()

    def __post_init__(self) -> None:
        """Raises InputError where one of them is written otherwise, or a point lies outside its picture."""
        try:
            triples = [(i, r, j) for i, (r, j) in self.pins.items()] + [(i, r, j) for i, r, j in self.forbidden]
            points = [region for i, _, j in triples for region in (i, j) if not isinstance(region, int)]
            outside = [(x, y) for x, y in points if not (0 <= x <= 1 and 0 <= y <= 1)]
            numbers = [*(reference for _, reference, _ in triples), *self.excluded]
            if not all(isinstance(number, int) for number in numbers):
                raise TypeError
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"{self} is not understood; write pins={{region: (reference, region)}}, excluded=[reference] and "
                "forbidden=[(region, reference, region)], all numbers from 1, or for a region a point (x, y) in it"
            ) from error
        for x, y in outside:
            raise InputError(
                f"the point {x:g},{y:g} lies outside the picture; pass fractions from 0 to 1, such as 0.4,0.7"
            )


@dataclass(frozen=True)
class Item:
    """One content picture, its references in order, and what the user decided: masks, whose equal colours are a region
    (None: the method finds regions itself), and constraints of matches."""

    id: str
    content: Path
    references: tuple[Path, ...]
    mask: Path | None = None
    reference_masks: tuple[Path | None, ...] = ()
    constraints: MatchConstraints[Region] = MatchConstraints()

    def __post_init__(self) -> None:
        """Paths may be given as text, several in a list. Raises InputError where there is no reference."""
        several = not isinstance(self.references, str | Path) and len(self.references) > 0
        if not several:
            raise InputError(f"references is a list of at least one path, not {self.references!r}")
        texts = {"content": self.content, "mask": self.mask}
        for name, path in texts.items():
            object.__setattr__(self, name, path if path is None else Path(path))
        for name in ("references", "reference_masks"):
            paths = tuple(path if path is None else Path(path) for path in getattr(self, name))
            object.__setattr__(self, name, paths)

    def masks(self) -> list[Path | None]:
        """The masks of content and references, one entry per picture."""
        return [self.mask, *self.reference_masks, *[None] * (len(self.references) - len(self.reference_masks))]

    def files(self) -> dict[str, Path]:
        """Every file the item reads, by its role."""
        roles = ["content", *(f"reference {number}" for number in range(1, len(self.references) + 1))]
        masks = {f"mask of {role}": path for role, path in zip(roles, self.masks(), strict=True) if path}
        return dict(zip(roles, [self.content, *self.references], strict=True)) | masks


@dataclass(frozen=True)
class Match:
    """A content region takes its style from a region of a reference (numbers from 1); score, and its three terms."""

    content_region: int
    reference: int
    reference_region: int
    score: float
    statistics: float
    semantics: float
    geometry: float
    pinned: bool


class Energy(NamedTuple):
    """The energy before an update at a timestep, and the two losses that it weighs."""

    step: int
    timestep: int
    energy: float
    style: float
    content: float


@dataclass(frozen=True)
class Stylization:
    """Result of a method on one item: a picture, and how it came about.

    content and references are the pictures as the method saw them; those of references, and their region maps, may be
    read when they are asked for. Region maps, matches and energies stay empty where the method has none. seconds are
    those of its stages; peak_memory_mib is the GPU's, else the process's. steps are those of its schedule, which a time
    budget chooses.
    """

    image: Tensor
    content: Tensor
    references: Sequence[Tensor]
    content_labels: Tensor | None = None
    reference_labels: Sequence[Tensor] = ()
    matches: list[Match] = field(default_factory=list)
    energies: list[Energy] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: float = 0.0
    steps: int | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError where a picture has another form, InputError where its values lie outside [0, 1],
        FloatingPointError where one is not finite. References that are not shown are not looked at."""
        from torch import Tensor

        references = {f"reference {number}": self.references[number - 1] for number in self.shown()}
        for name, picture in {"image": self.image, "content": self.content, **references}.items():
            form = f"{picture.dtype} {tuple(picture.shape)}" if isinstance(picture, Tensor) else type(picture).__name__
            fits = form.startswith("torch.float32 (1, 3, ") and picture.ndim == 4
            require(fits, f"a method's {name} is a float32 tensor of shape (1, 3, height, width)", form)
            if not picture.isfinite().all():
                raise FloatingPointError(f"the method's {name} is not finite")
            low, high = picture.min().item(), picture.max().item()
            rule = f"values of a method's {name} lie between 0 and 1"
            if low < -TOLERANCE or high > 1 + TOLERANCE:
                raise InputError(f"{rule}, not between {low:.3g} and {high:.3g}")

    def shown(self) -> list[int]:
        """Numbers of the references that files and figures show: all that something is matched to, and after them
        others, up to six in all. Of thousands that are offered no more are read."""
        matched = sorted({match.reference for match in self.matches})
        others = (number for number in range(1, len(self.references) + 1) if number not in matched)
        return matched + list(itertools.islice(others, max(0, SHOWN_REFERENCES - len(matched))))


def require_method(made: Any, name: str) -> None:
    """Raises InputError unless an object has `stylize(item, generator, progress)`, where progress may be left out."""
    try:
        signature = inspect.signature(made.stylize)
        signature.bind(None, None)
        signature.bind(None, None, None)
    except (AttributeError, TypeError) as error:
        raise InputError(
            f"{name} is no method ({error}); give it stylize(item, generator, progress=Silent()), as in "
            "baselines/identity.py"
        ) from error


class Advance(Protocol):
    """Called after every step of a stage; a stage that lowers an energy tells it and a way to see the picture.

    `picture` decodes the latent of this step to (1, 3, H, W), now or later: decoding costs time only where it is
    called. An error that this call raises, such as Cancelled, ends the method and comes out of it unchanged.
    """

    def __call__(self, energy: Energy | None = None, picture: Callable[[], Tensor] | None = None) -> None: ...


class Progress(Protocol):
    """Follows a method: `stage(name, steps)` opens a stage and returns what to call after each of its steps."""

    def stage(self, name: str, steps: int) -> Advance: ...


class Cancelled(Exception):
    """The user stopped a method: it has no result."""


def ignored(energy: Energy | None = None, picture: Callable[[], Tensor] | None = None) -> None:
    """The call for steps that nobody follows."""


class Silent:
    """A progress that shows nothing."""

    def stage(self, name: str, steps: int) -> Advance:
        return ignored


class Method(Protocol):
    """What a benchmark runs. Draws come from `generator` alone, see `draws.item_generator`.

    Two attributes are a method's choice. `draws_for_items = False` says that it draws for single pictures alone, see
    `draws.generator_for`. `stylize_together(items, generators)` gives the results of several items in their order: a
    job hands it as many as the method's setting `batch` says.
    """

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization: ...
