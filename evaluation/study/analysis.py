"""What votes say: abilities of methods by the model of Bradley and Terry (Biometrika 39, 1952), shares of pairs, and
how well metrics tell how people vote.

Votes of one participant resemble each other, and so do votes on items of one content. Variances take both for clusters
(Cameron, Gelbach and Miller, J. Business & Economic Statistics 29, 2011), and are never below those that take only one
of them; intervals are Student's with as many degrees of freedom as the fewer of the clusters less one. With fewer than
`statistics.FEWEST` participants or contents there are none.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components
from scipy.special import stdtrit

from evaluation.statistics import ALPHA, FEWEST

SIDES = ["first", "second"]  # columns of the methods that a vote compares
PEOPLE = "most other participants"  # the name of `agreement_of_people` beside metrics


def without_careless(votes: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The votes, without checks, of the participants who answered all checks rightly; and the names of the others."""
    checks = votes[votes["check"]]
    wrong = sorted(set(checks[~checks["first_chosen"]]["participant"]))
    return votes[~votes["check"] & ~votes["participant"].isin(wrong)].reset_index(drop=True), wrong


# --- intervals ---


def intervals(fit: Any, contrasts: np.ndarray, votes: pd.DataFrame) -> pd.DataFrame:
    """Columns value, low, high of contrasts (n, parameters) of a regression of statsmodels with one row per vote."""
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    groups = np.column_stack([pd.factorize(votes[name])[0] for name in ("participant", "content")])
    fewest = min(groups.max(axis=0)) + 1
    values, half = contrasts @ fit.params, np.full(len(contrasts), np.nan)
    if fewest >= FEWEST:
        variances = [np.diag(contrasts @ found @ contrasts.T) for found in cov_cluster_2groups(fit, groups)]
        half = stdtrit(fewest - 1, 1 - ALPHA / 2) * np.sqrt(np.maximum.reduce([*variances, np.zeros_like(half)]))
    return pd.DataFrame({"value": values, "low": values - half, "high": values + half})


def mean(values: pd.Series | np.ndarray, votes: pd.DataFrame) -> dict[str, float]:
    """value, low, high of the mean of one value per vote."""
    from statsmodels.regression.linear_model import OLS

    fit = OLS(np.asarray(values, dtype=float), np.ones((len(values), 1))).fit()
    return {str(name): float(found) for name, found in intervals(fit, np.ones((1, 1)), votes).iloc[0].items()}


# --- methods ---


def abilities(votes: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Columns method, ability, low, high, share (of its votes that it won), n: best first.

    A method of ability a is preferred to one of ability b with probability 1 / (1 + exp(b − a)); abilities add up to 0.
    They are not numbers where they do not exist, see `undecided`.
    """
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    chosen = winners(votes)
    table = pd.DataFrame({"method": list(methods), "ability": np.nan, "low": np.nan, "high": np.nan})
    if not undecided(votes, methods):
        first, second = (np.eye(len(methods))[pd.Categorical(votes[side], methods).codes] for side in SIDES)
        summing_to_zero = np.vstack([np.eye(len(methods) - 1), -np.ones(len(methods) - 1)])
        differences = (first - second) @ summing_to_zero
        fit = GLM(votes["first_chosen"].to_numpy(dtype=float), differences, Binomial()).fit()
        found = intervals(fit, summing_to_zero, votes)
        table[["ability", "low", "high"]] = found[["value", "low", "high"]].to_numpy()
    asked = [(votes["first"] == method) | (votes["second"] == method) for method in methods]
    table["share"] = [(chosen[these] == method).mean() for method, these in zip(methods, asked, strict=True)]
    table["n"] = [int(these.sum()) for these in asked]
    return table.sort_values(["ability", "share", "method"], ascending=[False, False, True], ignore_index=True)


def winners(votes: pd.DataFrame) -> pd.Series:
    return votes["first"].where(votes["first_chosen"], votes["second"])


def undecided(votes: pd.DataFrame, methods: Sequence[str]) -> str:
    """Why there are no abilities; empty where there are.

    They exist where no group of methods won all its votes against all others (Ford, American Mathematical Monthly 64,
    1957): then, and only then, wins lead from every method to every other.
    """
    won = winners(votes)
    lost = votes["second"].where(votes["first_chosen"], votes["first"])
    wins = pd.crosstab(won, lost).reindex(index=methods, columns=methods, fill_value=0).to_numpy()
    count, group = connected_components(wins, directed=True, connection="strong")
    if count == 1:
        return ""
    unbeaten = next(one for one in range(count) if not wins[np.ix_(group != one, group == one)].any())
    names = [method for method, one in zip(methods, group, strict=True) if one == unbeaten]
    return (
        f"no vote prefers another method to {' or '.join(names)}, so that no number can say how much better; ask more"
    )


def pairs(votes: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Columns first, second, share, low, high, n: how often the first of two methods was preferred."""
    rows = []
    for first, second in combinations(methods, 2):
        these = votes[(votes[SIDES] == [first, second]).all(axis=1)]
        if len(these):
            found = mean(these["first_chosen"], these)
            found["share"] = found.pop("value")
            rows.append({"first": first, "second": second, **found, "n": len(these)})
    return pd.DataFrame(rows, columns=["first", "second", "share", "low", "high", "n"])


# --- metrics ---


def agreement(votes: pd.DataFrame, values: pd.DataFrame) -> dict[str, float]:
    """How often a metric prefers the picture that was chosen, equal values counting half: value, low, high, and the
    number n of votes on pictures that have values; values: items x methods, larger is better."""
    number = values.stack()
    first, second = (number.reindex(pd.MultiIndex.from_frame(votes[["item", side]])).to_numpy() for side in SIDES)
    known = ~np.isnan(first - second)
    prefers = np.sign(first - second)[known] * np.where(votes["first_chosen"], 1, -1)[known]
    if not known.any():
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    return mean((1 + prefers) / 2, votes[known]) | {"n": int(known.sum())}


def agreement_of_people(votes: pd.DataFrame) -> dict[str, float]:
    """How often a vote is that of most others on the same two pictures, ties counting half: value, and the number n of
    votes that there are others beside. With many others it is what the best of metrics could reach, with few less."""
    grouped = votes.groupby(["item", *SIDES])["first_chosen"]
    others, first = grouped.transform("size") - 1, grouped.transform("sum") - votes["first_chosen"]
    alike = (1 + np.sign(2 * first - others) * np.where(votes["first_chosen"], 1, -1)) / 2
    return {"value": float(alike[others > 0].mean()), "n": int((others > 0).sum())}


def rank_correlation(ability: Mapping[str, float], values: Mapping[str, float]) -> tuple[float, int]:
    """Spearman's, over the methods that have both numbers, and how many these are."""
    both = pd.DataFrame({"ability": ability, "value": values}).dropna().rank()
    varied = len(both) > 1 and (both.nunique() > 1).all()
    return (float(np.corrcoef(both["ability"], both["value"])[0, 1]) if varied else np.nan), len(both)
