"""Which claims of the paper hold in the records: the comparisons of claims.yaml, tested, and the page about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from evaluation.publish.studies import Study, Sweep, model_lines
from evaluation.publish.text import bullets, page, pipe_table
from evaluation.results import embedded, facts
from evaluation.statistics import estimate, holm
from evaluation.tables import COPY, IDENTITY, INDEPENDENT
from stylegallery.errors import InputError

PATH = Path(__file__).with_name("claims.yaml")
LEVEL = 0.05
HOLDS, FAILS, UNDECIDED, UNTESTED, NO_RESULT = "holds", "fails", "undecided", "no test", "no result"
COLUMNS = [
    "claim", "experiment", "metric", "better", "worse", "n", "value_better", "value_worse", "gain", "low", "high",
    "tolerated", "p", "p_holm", "verdict", "reason",
]  # fmt: skip
NO_PAIR = "no item in common"


@dataclass(frozen=True)
class Claim:
    """See the head of claims.yaml."""

    id: str
    claim: str
    source: str
    experiment: str
    metrics: tuple[str, ...]
    better: tuple[str, ...]
    worse: tuple[str, ...]
    note: str = ""
    tolerance: float = 0.0
    better_items: str = ""
    worse_items: str = ""


def read_claims(path: Path = PATH) -> list[Claim]:
    """Raises InputError where the file cannot be read, or a claim lacks something or has what no claim has."""
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))["claims"]
        claims = [Claim(**{key: as_claims(key, value) for key, value in row.items()}) for row in rows]
    except (OSError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not a list of claims ({' '.join(str(error).split())})") from error
    if len({claim.id for claim in claims}) < len(claims):
        raise InputError(f"{path} has two claims of one id; rename one of them")
    return claims


def as_claims(key: str, value: Any) -> Any:
    if key in ("metrics", "better", "worse"):
        return (value,) if isinstance(value, str) else tuple(value)
    return value


# --- deciding ---


def decide(claims: Sequence[Claim], studies: Sequence[Study]) -> pd.DataFrame:
    """One row per comparison; p values are corrected over all rows that have one.

    gain: paired mean difference in the direction of the claim, so that a positive one speaks for it.
    """
    by_name = {study.experiment.name: study for study in studies}
    rows = [
        compare(claim, metric, better, worse, by_name.get(claim.experiment))
        for claim in claims
        for metric in claim.metrics
        for better in claim.better
        for worse in claim.worse
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64", "verdict": object, "p_holm": float})
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy(dtype=float))
    for index in table.index[tested]:
        row = table.loc[index]
        table.loc[index, "verdict"] = verdict(row["low"] + row["tolerated"], row["high"] + row["tolerated"], row.p_holm)
    return table


def verdict(low: float, high: float, p: float) -> str:
    """Of an interval of the gain and its corrected p."""
    if p < LEVEL and low > 0:
        return HOLDS
    return FAILS if p < LEVEL and high < 0 else UNDECIDED


def compare(claim: Claim, metric: str, better: str, worse: str, study: Study | None) -> dict[str, Any]:
    """One comparison without its correction; `reason` where there is nothing to compare."""
    row: dict[str, Any] = {
        "claim": claim.id, "experiment": claim.experiment, "metric": metric, "better": better + claim.better_items,
        "worse": worse + claim.worse_items, "tolerated": np.nan if claim.tolerance else 0.0, "verdict": NO_RESULT,
    }  # fmt: skip
    if study is None:
        return row | {"reason": f"{claim.experiment} is in none of the folders"}
    for label in (better, worse):
        if label in study.absent:
            return row | {"reason": f"{label} {study.absent[label]}"}
    if better != worse and study.settings(better) == study.settings(worse):
        return row | {"reason": f"{better} and {worse} have the same settings here"}
    if facts(metric).kind == "set" or metric in set(study.results.sets["metric"]):
        return row | compare_sets(metric, better, worse, study)
    items = study.results.items
    values = items[items["metric"] == metric].pivot(index="item", columns="label", values="value")
    values = values.reindex(columns=sorted({*values.columns, better, worse, IDENTITY, COPY}))
    scored = values[[better, worse]].notna().any().any()
    ends = {claim.better_items, claim.worse_items}
    if len(ends) > 1 and facts(metric).kind == "regional":
        values = values.sub(values[IDENTITY], axis=0)  # other references ask other questions
    pair = pd.DataFrame(
        {"better": ending(values[better], claim.better_items), "worse": ending(values[worse], claim.worse_items)}
    ).dropna()
    if pair.empty:
        reasons = items[(items["metric"] == metric) & items["label"].isin([better, worse])]["reason"].dropna()
        return row | {"reason": reasons.mode().iloc[0] if len(reasons) else NO_PAIR if scored else "not scored"}
    sign = 1 if facts(metric).direction == "up" else -1
    gains = sign * (pair["better"] - pair["worse"]).to_numpy(dtype=float)
    behind = values[values.index.isin([f"{item}{end}" for item in pair.index for end in ends])]
    margin = claim.tolerance * abs(float((behind[COPY] - behind[IDENTITY]).mean())) if claim.tolerance else 0.0
    if not np.isfinite(margin):
        return row | {"reason": "identity and reference_copy, which say how much is tolerated, were not run"}
    gain, shifted = estimate(gains), gains + margin
    return row | {
        "n": gain.n, "value_better": pair["better"].mean(), "value_worse": pair["worse"].mean(), "gain": gain.mean,
        "low": gain.low, "high": gain.high, "tolerated": margin,
        "p": float(stats.wilcoxon(shifted).pvalue) if shifted.any() else 1.0,
    }  # fmt: skip


def ending(values: pd.Series, end: str) -> pd.Series:
    """The items whose id ends so, named by what precedes it; all of them for an empty ending."""
    chosen = values[[str(item).endswith(end) for item in values.index]]
    return chosen.rename(lambda item: str(item).removesuffix(end))


def compare_sets(metric: str, better: str, worse: str, study: Study) -> dict[str, Any]:
    """Two values of whole sets: their order is no test, and means nothing where the items differ."""
    sets = study.results.sets
    found = sets[sets["metric"] == metric].set_index("label").reindex([better, worse])
    if found["value"].isna().any():
        reasons = found["reason"].dropna()
        return {"verdict": NO_RESULT, "reason": reasons.iloc[0] if len(reasons) else "not scored"}
    first, second = found["value"].to_numpy(dtype=float)
    row = {"verdict": UNTESTED, "value_better": first, "value_worse": second}
    if len(found[["n", "items"]].drop_duplicates()) != 1:
        return row | {"reason": "the sets are of different items, so that their values cannot be compared"}
    gain = first - second if facts(metric).direction == "up" else second - first
    side = "for" if gain > 0 else "against" if gain < 0 else "neither for nor against"
    reason = f"one value per set, no paired test; its order speaks {side} the claim"
    return row | {"n": found["n"].iloc[0], "gain": gain, "reason": reason}


# --- the page ---


def claims_page(claims: Sequence[Claim], table: pd.DataFrame, studies: Sequence[Study], discussion: bool) -> str:
    sweeps: dict[Path, Sweep] = {study.sweep.out: study.sweep for study in studies}
    about = [
        f"A comparison *{HOLDS}* where the 95 % bootstrap interval of the paired mean difference lies on the claim's "
        f"side of 0 and the two-sided Wilcoxon p, Holm-corrected over all {int(table['p'].notna().sum())} tests of "
        f"this page, is below {LEVEL}; it *{FAILS}* where both say the opposite; else it is *{UNDECIDED}*.",
        "Gain is the mean difference in the direction of the claim: positive speaks for it. A tolerated loss moves the "
        "0 of its comparison.",
        "Other references ask other questions of a region: where a claim compares items of different references, the "
        f"score of a region is what it gains over {IDENTITY}, the untouched photo, on the same item.",
        INDEPENDENT,
        f"Scores of whole sets (FID) have one value per method, hence *{UNTESTED}*.",
        "The claims are the paper's, in our words; the numbers are this model's. Nothing here confirms or refutes the "
        "paper on the model it used." if any(embedded(sweep.results.models) for sweep in sweeps.values()) else
        "The claims are the paper's, in our words.",
        "[All comparisons as CSV](claims.csv).",
    ]  # fmt: skip
    failing = [failure(claims, row) for _, row in table[table["verdict"] == FAILS].iterrows()]
    return page(
        "Claims of the paper",
        "\n\n".join(dict.fromkeys(line for sweep in sweeps.values() for line in model_lines(sweep, list(sweep.cells)))),
        bullets(about),
        "What this means is discussed in [discussion.md](discussion.md)." if discussion else "",
        "## Claims that fail\n\n" + (bullets(failing) if failing else "None."),
        "## Summary\n\n" + summary(claims, table),
        *[claim_block(claim, table[table["claim"] == claim.id]) for claim in claims],
    )


def failure(claims: Sequence[Claim], row: pd.Series) -> str:
    claim = next(claim for claim in claims if claim.id == row["claim"])
    tolerated = f" (tolerated: {row['tolerated']:.3g})" if row["tolerated"] else ""
    return (
        f"**{claim.id}**, {row['metric']}: `{row['better']}` is worse than `{row['worse']}` by {-row['gain']:.3g} "
        f"[{-row['high']:.3g}, {-row['low']:.3g}]{tolerated}, p {row['p_holm']:.2g}, N {row['n']}. "
        f"The claim was: {claim.claim}"
    )


def summary(claims: Sequence[Claim], table: pd.DataFrame) -> str:
    """Claim by claim and metric by metric how many comparisons came out how; metrics nobody measured are left out."""
    rows = []
    for claim in claims:
        for metric in claim.metrics:
            own = table[(table["claim"] == claim.id) & (table["metric"] == metric)]
            if (own["verdict"] == NO_RESULT).all() and metric != claim.metrics[0]:
                continue
            counts = own["verdict"].value_counts()
            names = (HOLDS, FAILS, UNDECIDED, UNTESTED, NO_RESULT)
            rows.append([f"[{claim.id}](#{claim.id})", metric, *[str(counts.get(name, "")) for name in names]])
    return pipe_table(["claim", "metric", HOLDS, FAILS, UNDECIDED, UNTESTED, NO_RESULT], rows)


def claim_block(claim: Claim, table: pd.DataFrame) -> str:
    """A claim, its comparisons, and why others could not be made."""
    made = table[table["verdict"] != NO_RESULT]
    rows = []
    for row in made.to_dict("records"):
        interval = "" if pd.isna(row["low"]) else f" [{row['low']:.3g}, {row['high']:.3g}]"
        rows.append(
            [
                f"`{row['better']}` over `{row['worse']}`", row["metric"], "–" if pd.isna(row["n"]) else str(row["n"]),
                f"{row['value_better']:.4g}", f"{row['value_worse']:.4g}",
                "–" if pd.isna(row["gain"]) else f"{row['gain']:+.3g}{interval}",
                "–" if pd.isna(row["p_holm"]) else f"{row['p_holm']:.2g}", f"**{row['verdict']}**",
            ]
        )  # fmt: skip
    lines = [claim.claim, f"Source: {claim.source}. Experiment: [{claim.experiment}]({claim.experiment}.md)."]
    if made.empty:  # then there may be no such page
        lines[1] = f"Source: {claim.source}. Experiment: {claim.experiment}."
    lines += [claim.note] if claim.note else []
    if claim.tolerance:
        losses = made[["metric", "tolerated"]].dropna().drop_duplicates().itertuples()
        shown = ", ".join(f"{row.metric} {row.tolerated:.3g}" for row in losses)
        lines.append(
            f"Tolerated loss, {claim.tolerance:.0%} of the way from identity to reference_copy on these items: "
            f"{shown or '–'}."
        )
    columns = ["comparison", "metric", "N", "better", "worse", "gain", "p", "verdict"]
    remarks: dict[str, list[str]] = {}
    for row in table[table["reason"].notna()].to_dict("records"):
        subject = row["metric"] if row["verdict"] == NO_RESULT else f"{row['metric']} against {row['worse']}"
        remarks.setdefault(str(row["reason"]), []).append(subject)
    texts = [f"{', '.join(dict.fromkeys(subjects))}: {reason}." for reason, subjects in remarks.items()]
    blocks = [f"## {claim.id}", " ".join(lines), pipe_table(columns, rows) if rows else "", bullets(texts)]
    return "\n\n".join(block for block in blocks if block)
