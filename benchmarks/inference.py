"""How often 95 % intervals cover and tests at 5 % reject a true null: `python -m benchmarks.inference`.

Differences of items are drawn around 0 as the sum of an effect of the content, one of the reference set, and noise,
with variances that add to 1; the intraclass correlation is the part of the content. `items` takes items for
independent, as this repository did at first; `percentile` is the cluster bootstrap of contents; `estimate` and
`compare` are what `evaluation.statistics` has, and a verdict is decided where both agree. Three minutes on one core.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.statistics import ALPHA, Comparison, compare, estimate, side

RUNS, RESAMPLES = 2000, 500


@dataclass(frozen=True)
class Design:
    """Items of every content, the variances of content and reference effects, and how effects and noise are drawn.

    With `references`, item k of every content has reference set k.
    """

    name: str
    items: tuple[int, ...]
    content: float
    references: float = 0.0
    skewed: bool = False

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Differences (n,) with mean 0 and their contents (n,)."""

        def noise(size: int) -> np.ndarray:
            return rng.exponential(1, size) - 1 if self.skewed else rng.normal(size=size)

        contents = np.repeat(np.arange(len(self.items)), self.items)
        sets = np.concatenate([np.arange(count) for count in self.items])
        rest = 1 - self.content - self.references
        parts = (
            self.content**0.5 * noise(len(self.items))[contents],
            self.references**0.5 * noise(max(self.items))[sets],
        )
        return parts[0] + parts[1] + rest**0.5 * noise(len(contents)), contents


DESIGNS = (
    Design("15 x 50, correlation 0", (50,) * 15, 0.0),
    Design("15 x 50, correlation 0.1", (50,) * 15, 0.1),
    Design("15 x 50, correlation 0.3", (50,) * 15, 0.3),
    Design("15 x 50, correlation 0.1, skewed", (50,) * 15, 0.1, skewed=True),
    Design("15 x 50, 0.1 and 0.05 of 50 shared reference sets", (50,) * 15, 0.1, 0.05),
    Design("15 x 4, correlation 0.1", (4,) * 15, 0.1),
    Design("10 x 20, correlation 0.1", (20,) * 10, 0.1),
    Design("15 contents of 2 to 30 items, correlation 0.1", tuple(range(2, 32, 2)), 0.1),
    Design("60 contents of one item", (1,) * 60, 0.0),
)


def percentile(values: np.ndarray, contents: np.ndarray, rng: np.random.Generator) -> bool:
    """Whether the interval of the cluster bootstrap covers 0."""
    totals, counts = np.bincount(contents, values), np.bincount(contents)
    drawn = rng.integers(0, len(counts), (RESAMPLES, len(counts)))
    low, high = np.quantile(totals[drawn].sum(1) / counts[drawn].sum(1), [ALPHA / 2, 1 - ALPHA / 2])
    return bool(low <= 0 <= high)


def decided(found: Comparison) -> bool:
    """Whether interval and test agree on a side, as verdicts on claims ask."""
    return side(found.low, found.high, found.rank_biserial, found.p) != 0


def measure(design: Design) -> dict[str, float]:
    """Parts of RUNS: intervals that cover 0, and tests that reject it."""
    rng = np.random.default_rng(0)
    covers: dict[str, Callable[[np.ndarray, np.ndarray], bool]] = {
        "items cover": lambda v, _: bool(abs(v.mean()) <= 1.96 * v.std(ddof=1) / len(v) ** 0.5),
        "items reject": lambda v, _: bool(stats.wilcoxon(v).pvalue < ALPHA),
        "percentile covers": lambda v, c: percentile(v, c, rng),
        "estimate covers": lambda v, c: (found := estimate(v, c)).low <= 0 <= found.high,
        "compare rejects": lambda v, c: compare(v, c).p < ALPHA,
        "both decide": lambda v, c: decided(compare(v, c)),
    }
    found: dict[str, list[bool]] = {name: [] for name in covers}
    for _ in range(RUNS):
        values, contents = design.draw(rng)
        for name, decide in covers.items():
            found[name].append(decide(values, contents))
    return {name: float(np.mean(hits)) for name, hits in found.items()}


if __name__ == "__main__":
    for number, design in enumerate(DESIGNS):
        rates = measure(design)
        if number == 0:
            print("| design | " + " | ".join(rates) + " |\n| --- |" + " --- |" * len(rates))
        print(f"| {design.name} | " + " | ".join(f"{rate:.1%}" for rate in rates.values()) + " |", flush=True)
