"""Means with intervals, paired tests and ranks over items. Values come as one column per method, one row per item."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from evaluation.metric import Direction

RESAMPLES, LEVEL, SEED = 2000, 0.95, 0


@dataclass(frozen=True)
class Estimate:
    """Mean over n items with its 95 % interval (not a number below two items)."""

    mean: float
    low: float
    high: float
    n: int


def estimate(values: np.ndarray) -> Estimate:
    """Mean of values (n,) with the percentile bootstrap interval over items; the same draws for the same n.

    Raises:
        ValueError: no values, or some that are not finite.
    """
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError("a mean needs at least one value, and finite ones only")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, float("nan"), float("nan"), 1)
    interval = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile", batch=250,
        rng=np.random.default_rng(SEED),
    ).confidence_interval  # fmt: skip
    return Estimate(mean, float(interval.low), float(interval.high), len(values))


def common_items(values: pd.DataFrame) -> pd.DataFrame:
    """The items that every method with any value at all has a value for; methods without any are dropped."""
    return values.dropna(axis=1, how="all").dropna(axis=0, how="any")


def mean_ranks(values: pd.DataFrame, direction: Direction) -> pd.Series:
    """Mean over items of the rank of each method on the item, 1 = best; ties share the mean of their ranks."""
    return values.rank(axis=1, ascending=direction == "down", method="average").mean(axis=0)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P values corrected for their number by Holm's step-down procedure (Scandinavian J. Statistics 6, 1979).

    The k-th smallest of m is multiplied by m − k + 1; none may fall below a smaller one's or exceed 1.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    result = np.empty(len(p_values))
    result[order] = corrected
    return result


def paired_tests(values: pd.DataFrame, against: str) -> pd.DataFrame:
    """Two-sided Wilcoxon signed-rank test of every method against one, each pair on the items both have.

    Columns: method, n, left_out (items only one of the two has), mean_difference (method − against), p, p_holm
    (corrected over the methods of this call). Methods that share no item with `against` have p = not a number and do
    not count for the correction; without any difference p is 1.
    """
    rows = []
    for method in values.columns.drop(against):
        either = values[[method, against]].dropna(how="all")
        both = either.dropna()
        differences = (both[method] - both[against]).to_numpy()
        mean = p = float("nan")
        if len(both):
            mean = float(differences.mean())
            p = float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0
        rows.append((method, len(both), len(either) - len(both), mean, p))
    table = pd.DataFrame(rows, columns=["method", "n", "left_out", "mean_difference", "p"])
    tested = table["p"].notna().to_numpy()
    table["p_holm"] = np.nan
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy(dtype=float))
    return table
