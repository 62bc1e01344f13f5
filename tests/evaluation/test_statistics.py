"""Statistics against closed forms, a textbook example and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluation.statistics import FEWEST, common_items, compare, estimate, holm, mean_ranks, paired_tests, side

CONTENTS = np.repeat(np.arange(15), 50)  # as in the paper's benchmark


def drawn(rng: np.random.Generator, correlation: float) -> np.ndarray:
    """Differences around 0 of 15 contents with 50 items each, with that intraclass correlation."""
    return correlation**0.5 * rng.normal(size=15)[CONTENTS] + (1 - correlation) ** 0.5 * rng.normal(size=750)


def test_interval_of_unlike_items_is_students() -> None:
    values = np.random.default_rng(1).normal(3, 2, 40)
    found, test = estimate(values, np.arange(40)), stats.ttest_1samp(values, 0)
    assert (found.mean, found.n, found.contents) == (values.mean(), 40, 40)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.p == pytest.approx(test.pvalue)


def test_interval_of_contents_with_equally_many_items_is_that_of_their_means() -> None:
    values = drawn(np.random.default_rng(1), 0.3)
    found, test = estimate(values, CONTENTS), stats.ttest_1samp(values.reshape(15, 50).mean(1), 0)
    assert (found.n, found.contents) == (750, 15)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.p == pytest.approx(test.pvalue)


def test_error_of_contents_of_all_sizes_is_the_cluster_robust_one() -> None:
    """Expected are the numbers of statsmodels 0.15.0, OLS on ones with cov_type="cluster" and use_t=True."""
    values, contents = np.arange(30) ** 2 % 7 / 2, np.repeat(np.arange(10), [1, 2, 3, 4, 5] * 2)
    found = estimate(values, contents)
    assert (found.mean, found.contents) == (0.95, 10)
    assert [found.low, found.high] == pytest.approx([0.75898993, 1.14101007])
    assert found.p == pytest.approx(1.33067108e-6)


@pytest.mark.slow
def test_intervals_cover_and_tests_reject_as_often_as_they_say() -> None:
    """15 contents of 50 items, correlation 0.1: an interval over items would cover 58 %, its test reject 40 %."""
    rng = np.random.default_rng(0)
    found = [(estimate(v, CONTENTS), compare(v, CONTENTS)) for v in (drawn(rng, 0.1) for _ in range(600))]
    assert 0.93 <= np.mean([mean.low <= 0 <= mean.high for mean, _ in found]) <= 0.97
    assert 0.03 <= np.mean([pair.p < 0.05 for _, pair in found]) <= 0.07


def test_too_few_contents_have_a_mean_and_nothing_else() -> None:
    values = np.arange(3.0 * (FEWEST - 1))
    few, enough = (estimate(values, np.arange(len(values)) % count) for count in (FEWEST - 1, FEWEST))
    assert few.mean == values.mean() and few.contents == FEWEST - 1 and np.isnan([few.low, few.high, few.p]).all()
    assert enough.low < enough.mean < enough.high and enough.p < 1
    assert np.isnan(compare(values, np.arange(len(values)) % (FEWEST - 1)).p)


def test_equal_values_have_no_width_and_none_or_gaps_no_mean() -> None:
    same = estimate(np.full(12, 2.0), np.arange(12))
    assert (same.low, same.high, same.p) == (2, 2, 0) and estimate(np.zeros(12), np.arange(12)).p == 1
    for values in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="finite"):
            estimate(values, np.arange(len(values)))


def test_a_comparison_ranks_as_wilcoxon_does() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.3, 1, 60)
    found = compare(values, np.arange(60))
    smaller = stats.wilcoxon(values).statistic  # the smaller of the sums of ranks
    assert abs(found.rank_biserial) == pytest.approx(1 - 2 * smaller / (60 * 61 / 2))
    assert found.p == pytest.approx(stats.wilcoxon(values).pvalue, rel=0.2)
    mirrored = compare(-values, np.arange(60))
    assert mirrored.rank_biserial == -found.rank_biserial and mirrored.p == pytest.approx(found.p)


def test_ties_share_their_mean_rank_and_zeros_have_ranks() -> None:
    differences = np.array([0, 0, 0, 1, 1, -1, 2, 2, 3, -3, 4, 5.0])
    plus, minus = (
        stats.wilcoxon(values, zero_method="pratt", alternative="greater", method="asymptotic").statistic
        for values in (differences, -differences)
    )
    assert compare(differences, np.arange(12)).rank_biserial == pytest.approx((plus - minus) / (12 * 13 / 2))


@pytest.mark.parametrize("sign", [1, -1])
def test_few_large_differences_against_many_small_ones_are_on_no_side(sign: int) -> None:
    """650 of 750 slightly against, 100 strongly for: the mean is for, and certain, most items are against."""
    values = np.where(np.arange(750) % 15 < 2, 1.0, -0.01) + np.linspace(0, 1e-3, 750)
    found = compare(sign * values, np.arange(750) // 50)
    assert found.p < 0.01 and sign * found.mean > 0 and min(sign * found.low, sign * found.high) > 0
    assert sign * found.rank_biserial < 0
    assert side(found.low, found.high, found.rank_biserial, found.p) == 0


@pytest.mark.parametrize(
    ("low", "high", "rank_biserial", "p", "says"),
    [
        (0.1, 0.2, 0.5, 0.01, 1), (0.1, 0.2, 0.5, 0.05, 0), (-0.1, 0.2, 0.5, 0.01, 0), (0.1, 0.2, -0.5, 0.01, 0),
        (-0.2, -0.1, -0.5, 0.01, -1), (-0.2, -0.1, -0.5, 0.9, 0), (-0.2, -0.1, 0.5, 0.01, 0),
        (float("nan"), float("nan"), 0.5, 0.01, 0), (0.1, 0.2, 0.5, float("nan"), 0),
    ],
)  # fmt: skip
def test_a_side_needs_interval_ranks_and_p(low: float, high: float, rank_biserial: float, p: float, says: int) -> None:
    assert side(low, high, rank_biserial, p) == says


def test_holm_on_the_textbook_example() -> None:
    """p = 0.01, 0.04, 0.03, 0.005 (the worked example of the method's encyclopaedia entry)."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([])).shape == (0,)


def test_paired_tests_use_the_items_both_have() -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(size=40)
    values = pd.DataFrame({"ours": base, "worse": base + 0.5 + 0.1 * rng.normal(size=40), "same": base, "none": np.nan})
    values.loc[0, "worse"] = np.nan
    values.loc[40] = np.nan  # neither has it: nobody left it out
    contents = pd.Series(np.arange(41) // 2, index=values.index)
    table = paired_tests(values, "ours", contents).set_index("method")
    assert table.loc["worse", ["n", "contents", "left_out"]].tolist() == [39, 20, 1]
    expected = compare((values["worse"] - values["ours"])[1:40].to_numpy(), contents[1:40].to_numpy())
    row = table.loc["worse"]
    assert row[["mean_difference", "low", "high", "rank_biserial", "p"]].tolist() == [
        expected.mean, expected.low, expected.high, expected.rank_biserial, expected.p,
    ]  # fmt: skip
    assert row["p_holm"] == 2 * row["p"] and row["mean_difference"] == pytest.approx(0.5, abs=0.1)
    assert table.loc["same", ["p", "p_holm"]].tolist() == [1, 1]
    assert table.loc["none", "n"] == 0 and np.isnan(table.loc["none", "p_holm"])


def test_ranks_follow_the_direction_and_share_ties() -> None:
    values = pd.DataFrame({"a": [1.0, 1.0], "b": [2.0, 1.0], "c": [3.0, 5.0]})
    assert mean_ranks(values, "down").tolist() == [1.25, 1.75, 3]
    assert mean_ranks(values, "up").tolist() == [2.75, 2.25, 1]


def test_common_items_ignore_methods_without_any_value() -> None:
    values = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, np.nan, 3.0], "missing": np.nan}, index=["x", "y", "z"])
    common = common_items(values)
    assert list(common.columns) == ["a", "b"] and list(common.index) == ["x", "z"]
