"""What the stages hand on: what is known of a picture, and which regions are matched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from stylegallery.contract import Energy, Match, Stylization
from stylegallery.images import Picture
from stylegallery.matching import RegionDescriptors
from stylegallery.segmentation import Segmentation
from stylegallery.stopwatch import Stopwatch


class Input(NamedTuple):
    """A picture that was read: as it was given, as the model sees it (1, 3, H, W), its user's label map (h, w) where it
    has one, and what is drawn for it comes from: the seed of the run, and one of its own."""

    source: Picture
    image: Tensor
    mask: Tensor | None
    run_seed: int
    seed: int


@dataclass(frozen=True)
class Analysis:
    """All that stages 1 and 2 know of a picture, whatever other pictures it is matched with.

    source is the picture as it was given, image (1, 3, H, W) as the model sees it, run_seed what its draws began with.
    """

    source: Picture
    image: Tensor
    run_seed: int
    segmentation: Segmentation
    descriptors: RegionDescriptors

    @property
    def labels(self) -> Tensor:
        """The region map (h, w)."""
        return self.segmentation.labels


class OfEach(Sequence[Tensor]):
    """One attribute of each analysis, read when it is asked for and kept from then on: of thousands few are."""

    def __init__(self, analyses: Sequence[Analysis], name: str) -> None:
        self.analyses, self.name = analyses, name
        self.read: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.analyses)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        if number not in self.read:
            self.read[number] = getattr(self.analyses[number], self.name)
        return self.read[number]


@dataclass(frozen=True)
class Plan:
    """Where every content region takes its style from."""

    content: Analysis
    references: list[Analysis]
    matches: list[Match]

    @property
    def analyses(self) -> list[Analysis]:
        """Content first, then the references."""
        return [self.content, *self.references]

    def with_image(
        self, image: Tensor, energies: Sequence[Energy] = (), watch: Stopwatch | None = None, steps: int | None = None
    ) -> Stylization:
        """The result of this plan that is `image` (1, 3, H, W)."""
        return Stylization(
            image=image,
            content=self.content.image,
            references=OfEach(self.references, "image"),
            content_labels=self.content.labels,
            reference_labels=OfEach(self.references, "labels"),
            matches=self.matches,
            energies=list(energies),
            steps=steps,
            **(watch.costs() if watch else {}),
        )
