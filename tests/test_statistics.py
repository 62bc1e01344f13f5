"""Statistics against closed forms, a textbook example and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluation.statistics import common_items, estimate, holm, mean_ranks, paired_tests


def test_interval_is_the_normal_one_for_many_items() -> None:
    values = np.random.default_rng(1).normal(3, 2, 800)
    result = estimate(values)
    half = 1.96 * values.std() / np.sqrt(800)
    assert result.mean == values.mean() and result.n == 800
    assert result.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert result.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = [(e := estimate(rng.exponential(1, 60))).low <= 1 <= e.high for _ in range(200)]
    assert 0.87 <= np.mean(hits) <= 0.99


def test_interval_is_repeatable_and_does_not_touch_the_global_generator() -> None:
    values = np.arange(10.0)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert estimate(values) == estimate(values)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_one_item_has_no_interval_and_none_or_gaps_no_mean() -> None:
    single = estimate(np.array([0.5]))
    assert (single.mean, single.n) == (0.5, 1) and np.isnan([single.low, single.high]).all()
    assert estimate(np.full(5, 2.0)).low == estimate(np.full(5, 2.0)).high == 2
    for values in (np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="finite"):
            estimate(values)


def test_holm_on_the_textbook_example() -> None:
    """p = 0.01, 0.04, 0.03, 0.005 (the worked example of the method's encyclopaedia entry)."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([])).shape == (0,)


def test_paired_tests_use_the_items_both_have() -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(size=20)
    values = pd.DataFrame({"ours": base, "worse": base + 0.5 + 0.1 * rng.normal(size=20), "same": base, "none": np.nan})
    values.loc[0, "worse"] = np.nan
    table = paired_tests(values, "ours").set_index("method")
    assert table.loc["worse", ["n", "left_out"]].tolist() == [19, 1]
    assert table.loc["worse", "p"] == stats.wilcoxon(values["worse"][1:], values["ours"][1:]).pvalue
    assert table.loc["worse", "p_holm"] == 2 * table.loc["worse", "p"]
    assert table.loc["worse", "mean_difference"] == pytest.approx(0.5, abs=0.1)
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
