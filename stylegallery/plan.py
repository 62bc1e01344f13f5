"""What stage 2 hands on to stage 3: which regions are matched."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from stylegallery.analysis import Analysis
from stylegallery.contract import Energy, Match, Stylization
from stylegallery.stopwatch import Stopwatch


class OfEach(Sequence[Tensor]):
    """One attribute of each analysis, read when it is asked for: of thousands few are."""

    def __init__(self, analyses: Sequence[Analysis], name: str) -> None:
        self.analyses, self.name = analyses, name

    def __len__(self) -> int:
        return len(self.analyses)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        return getattr(self.analyses[index], self.name)


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

    def of_matched(self) -> "Plan":
        """The plan without the references that nothing is matched to: all that stage 3 reads."""
        used = sorted({match.reference for match in self.matches})
        numbers = {reference: number for number, reference in enumerate(used, 1)}
        matches = [replace(match, reference=numbers[match.reference]) for match in self.matches]
        return Plan(self.content, [self.references[reference - 1] for reference in used], matches)

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
