"""Which claims of the paper hold in the records: the comparisons of claims.yaml, tested, and the page about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from evaluation.calibration import IDENTITY
from evaluation.publish.studies import Study, Sweep, model_lines
from evaluation.publish.text import bullets, page, pipe_table
from evaluation.registry import metric_info
from evaluation.results import embedded
from evaluation.statistics import ALPHA, FEWEST, Comparison, compare, estimate, side, with_holm
from evaluation.table_notes import INFERENCE
from evaluation.table_page import items_of, number
from stylegallery.errors import InputError

PATH = Path(__file__).with_name("claims.yaml")
KEPT = 0.5  # part of the painting of `worse` that `better` must keep where a loss of structure is forgiven
HOLDS, FAILS, UNDECIDED, UNTESTED, NO_RESULT = "holds", "fails", "undecided", "no test", "no result"
COLUMNS = [
    "claim", "experiment", "metric", "better", "worse", "n", "contents", "value_better", "value_worse", "gain", "low",
    "high", "tolerated", "rank_biserial", "p", "p_holm", "verdict", "reason",
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
    painting: str = ""
    better_items: str = ""
    worse_items: str = ""


def read_claims(path: Path = PATH) -> list[Claim]:
    """Raises InputError where the file cannot be read, or a claim lacks something or has what no claim has."""
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))["claims"]
        claims = [Claim(**{key: as_claims(key, value) for key, value in row.items()}) for row in rows]
    except (OSError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not a list of claims ({' '.join(str(error).split())})") from error
    for claim in claims:
        if (
            claim.tolerance
            and not claim.painting
            and any(metric_info(metric).kind == "structure" for metric in claim.metrics)
        ):
            raise InputError(f"{path}: {claim.id} forgives a loss of structure; name the metric of its painting")
    if len({claim.id for claim in claims}) < len(claims):
        raise InputError(f"{path} has two claims of one id; rename one of them")
    return claims


def as_claims(key: str, value: Any) -> Any:
    if key in ("metrics", "better", "worse"):
        return (value,) if isinstance(value, str) else tuple(value)
    return value


# --- deciding ---


def decide(claims: Sequence[Claim], studies: Sequence[Study]) -> pd.DataFrame:
    """One row per comparison; p values are corrected over all tests that decide one.

    gain: paired mean difference in the direction of the claim, so that a positive one speaks for it; low, high: its
    interval; tolerated: the mean of what the claim forgives; p: of the test that the gain and what is tolerated are
    above 0.
    """
    by_name = {study.experiment.name: study for study in studies}
    found = [
        compare_labels(claim, metric, better, worse, by_name.get(claim.experiment))
        for claim in claims
        for metric in claim.metrics
        for better in claim.better
        for worse in claim.worse
    ]
    table = pd.DataFrame([row for row, _ in found], columns=COLUMNS).astype(
        {"n": "Int64", "contents": "Int64", "verdict": object, "reason": object, "p_holm": float}
    )
    tests = pd.DataFrame(
        [(index, test, test.p) for index, (_, tests) in enumerate(found) for test in tests],
        columns=["row", "test", "p"],
    )
    for index, own in with_holm(tests).groupby("row"):
        table.loc[index, "p_holm"] = own["p_holm"].iloc[0]
        sides = [
            side(test.low, test.high, test.rank_biserial, p) for test, p in zip(own["test"], own["p_holm"], strict=True)
        ]
        table.loc[index, "verdict"] = HOLDS if min(sides) > 0 else FAILS if min(sides) < 0 else UNDECIDED
        table.loc[index, "reason"] = why(list(own["test"]), sides, own["p_holm"].iloc[0])
    return table


def why(tests: Sequence[Comparison], sides: Sequence[int], p: float) -> str | None:
    """What a reader cannot see in gain, interval and p."""
    gain, *painting = tests
    if gain.contents < FEWEST:
        return f"too few contents ({gain.contents}; intervals and tests need {FEWEST})"
    if painting and sides[1] < 1:
        return f"{'it paints' if sides[1] < 0 else 'it may paint'} less than {KEPT:.0%} of what the other paints"
    if p < ALPHA and np.sign(gain.mean) != np.sign(gain.rank_biserial):
        return "few large differences decide the mean against most of the items"
    return None


def compare_labels(
    claim: Claim, metric: str, better: str, worse: str, study: Study | None
) -> tuple[dict[str, Any], list[Comparison]]:
    """One comparison without its correction, and the tests that must all be passed; none where there is nothing to
    compare, for a `reason`.

    A tolerated loss is a part of what `worse` does to the photo: of its gain over identity in scores of style, of its
    loss against identity in scores of structure. There `better` must also paint: keep KEPT of the gain of `worse` over
    identity in the claim's score of painting. Else the untouched photo, which loses nothing, would do.
    """
    row: dict[str, Any] = {
        "claim": claim.id, "experiment": claim.experiment, "metric": metric, "better": better + claim.better_items,
        "worse": worse + claim.worse_items, "tolerated": np.nan if claim.tolerance else 0.0, "verdict": NO_RESULT,
    }  # fmt: skip
    if study is None:
        return row | {"reason": f"{claim.experiment} is in none of the folders"}, []
    for label in (better, worse):
        if label in study.absent:
            return row | {"reason": f"{label} {study.absent[label]}"}, []
    if better != worse and study.settings(better) == study.settings(worse):
        return row | {"reason": f"{better} and {worse} have the same settings here"}, []
    if metric_info(metric).kind == "set" or metric in set(study.results.sets["metric"]):
        return row | compare_sets(metric, better, worse, study), []
    items = study.results.items
    pairs = paired(claim, metric, better, worse, items)
    if pairs.empty:
        reasons = items[(items["metric"] == metric) & items["label"].isin([better, worse])]["reason"].dropna()
        scored = items[(items["metric"] == metric) & items["label"].isin([better, worse])]["value"].notna().any()
        return row | {"reason": reasons.mode().iloc[0] if len(reasons) else NO_PAIR if scored else "not scored"}, []
    sign = 1 if metric_info(metric).direction == "up" else -1
    gains, tolerated = sign * (pairs["better"] - pairs["worse"]), 0.0 * pairs["better"]
    tests: list[Comparison] = []
    if claim.tolerance:
        pairs = pairs.dropna()
        if pairs.empty:
            return row | {"reason": "identity, which says how much is tolerated, has none of these items"}, []
        gains, loses = gains[pairs.index], metric_info(metric).kind == "structure"
        tolerated = part(claim.tolerance, sign * (-1 if loses else 1) * (pairs["worse"] - pairs["photo of worse"]))
        if loses:
            painted = paired(claim, claim.painting, better, worse, items).reindex(pairs.index).dropna()
            if painted.empty:
                return row | {"reason": f"{claim.painting}, which says whether it paints, has none of these items"}, []
            up = 1 if metric_info(claim.painting).direction == "up" else -1
            own, others = (up * (painted[end] - painted[f"photo of {end}"]) for end in ("better", "worse"))
            tests.append(compare((own - part(KEPT, others)).to_numpy(), contents_of(claim, items, painted)))
    contents = contents_of(claim, items, pairs)
    tests.insert(0, compare((gains + tolerated).to_numpy(), contents))
    gain = estimate(gains.to_numpy(), contents)
    return row | {
        "n": gain.n, "contents": gain.contents, "value_better": pairs["better"].mean(),
        "value_worse": pairs["worse"].mean(), "gain": gain.mean, "low": gain.low, "high": gain.high,
        "tolerated": tolerated.mean(), "rank_biserial": tests[0].rank_biserial, "p": tests[0].p, "verdict": UNDECIDED,
    }, tests  # fmt: skip


def paired(claim: Claim, metric: str, better: str, worse: str, items: pd.DataFrame) -> pd.DataFrame:
    """Scores of the items that both sides have, and of the photo (identity) on the same: better, worse, photo of
    better, photo of worse. The photo's are not a number where identity lacks the item."""
    values = items[items["metric"] == metric].pivot(index="item", columns="label", values="value")
    values = values.reindex(columns=sorted({*values.columns, better, worse, IDENTITY})).astype(float)
    if claim.better_items != claim.worse_items and metric_info(metric).kind == "regional":
        values = values.sub(values[IDENTITY], axis=0)  # with other references the same score means something else
    ends = {"better": claim.better_items, "worse": claim.worse_items}
    sides = {"better": better, "worse": worse}
    columns = {name: ending(values[sides[name]], end) for name, end in ends.items()}
    columns |= {f"photo of {name}": ending(values[IDENTITY], end) for name, end in ends.items()}
    return pd.DataFrame(columns).dropna(subset=["better", "worse"])


def part(share: float, effect: pd.Series) -> pd.Series:
    """A share of an effect, item by item; nothing where there is no effect to take it of."""
    return share * effect if effect.mean() > 0 else 0 * effect


def contents_of(claim: Claim, items: pd.DataFrame, pairs: pd.DataFrame) -> np.ndarray:
    contents = items.groupby("item")["content"].first()
    return contents[[f"{item}{claim.better_items}" for item in pairs.index]].to_numpy()


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
    gain = first - second if metric_info(metric).direction == "up" else second - first
    side = "for" if gain > 0 else "against" if gain < 0 else "neither for nor against"
    reason = f"one value per set, no paired test; its order speaks {side} the claim"
    return row | {"n": found["n"].iloc[0], "gain": gain, "reason": reason}


# --- the page ---


def claims_page(claims: Sequence[Claim], table: pd.DataFrame, studies: Sequence[Study], discussion: bool) -> str:
    sweeps: dict[Path, Sweep] = {study.sweep.out: study.sweep for study in studies}
    about = [
        f"A comparison *{HOLDS}* where the 95 % interval of the paired mean difference lies on the claim's side of 0 "
        "and the two-sided signed-rank test says the same side with a Holm-corrected p, over all tests of this page, "
        f"below {ALPHA}; it *{FAILS}* where both say the opposite; else it is *{UNDECIDED}*.",
        "Gain is the mean difference in the direction of the claim: positive speaks for it.",
        "A tolerated loss is a part of what the method compared with does to the photo (its gain over "
        f"{IDENTITY} in scores of style, its loss in scores of structure), item by item, and is added to the gain "
        f"before interval and test. Where structure may be lost, {KEPT:.0%} of that method's painting must be kept, "
        "tested likewise: the untouched photo loses no structure.",
        "Other references ask other questions of a region: where a claim compares items of different references, the "
        f"score of a region is what it gains over {IDENTITY}, the untouched photo, on the same item.",
        INFERENCE,
        f"Scores of whole sets (FID) have one value per method, hence *{UNTESTED}*.",
        "The claims are the paper's, in our words; the numbers are this model's. Nothing here confirms or refutes the "
        "paper on the model it used." if any(embedded(sweep.results.models) for sweep in sweeps.values()) else
        "The claims are the paper's, in our words.",
        "[All comparisons as CSV](claims.csv).",
    ]  # fmt: skip
    failing = [failure(claims, row) for _, row in table[table["verdict"] == FAILS].iterrows()]
    return page(
        "Claims of the paper",
        "\n\n".join(dict.fromkeys(line for sweep in sweeps.values() for line in model_lines(sweep))),
        bullets([*about, *(line for sweep in sweeps.values() for line in sweep.results.mixed)]),
        "What this means is discussed in [discussion.md](discussion.md)." if discussion else "",
        "## Claims that fail\n\n" + (bullets(failing) if failing else "None."),
        "## Summary\n\n" + summary(claims, table),
        *[claim_block(claim, table[table["claim"] == claim.id]) for claim in claims],
    )


def failure(claims: Sequence[Claim], row: pd.Series) -> str:
    claim = next(claim for claim in claims if claim.id == row["claim"])
    tolerated = f" (tolerated: {row['tolerated']:.3g})" if row["tolerated"] else ""
    remark = f"; {row['reason']}" if row["reason"] else ""
    return (
        f"**{claim.id}**, {row['metric']}: `{row['better']}` gains {row['gain']:.3g} "
        f"[{row['low']:.3g}, {row['high']:.3g}] over `{row['worse']}`{tolerated}, p {row['p_holm']:.2g}, "
        f"{items_of(row)}{remark}. The claim was: {claim.claim}"
    )


def summary(claims: Sequence[Claim], table: pd.DataFrame) -> str:
    """Claim by claim and metric by metric how many comparisons came out how; metrics without values are left out."""
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
                f"`{row['better']}` over `{row['worse']}`", row["metric"], "–" if pd.isna(row["n"]) else items_of(row),
                number(row["value_better"]), number(row["value_worse"]),
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
            f"Tolerated loss, {claim.tolerance:.0%} of what the method compared with does to the photo on these items: "
            f"{shown or '–'}."
        )
    columns = ["comparison", "metric", "items", "better", "worse", "gain", "p", "verdict"]
    remarks: dict[str, list[str]] = {}
    for row in table[table["reason"].notna()].to_dict("records"):
        pair = f"{row['metric']}, {row['better']} over {row['worse']}"
        subject = row["metric"] if row["verdict"] == NO_RESULT else pair
        remarks.setdefault(str(row["reason"]), []).append(subject)
    texts = [f"{', '.join(dict.fromkeys(subjects))}: {reason}." for reason, subjects in remarks.items()]
    blocks = [f"## {claim.id}", " ".join(lines), pipe_table(columns, rows) if rows else "", bullets(texts)]
    return "\n\n".join(block for block in blocks if block)
