"""The rows that calibrate a table, and what must hold between its numbers."""

import pandas as pd

from evaluation.registry import metric_info

IDENTITY, COPY = "identity", "reference_copy"
CALIBRATION = (IDENTITY, COPY)
ARTFID_TOLERANCE = 0.006  # differences up to it may come from the rounding of published tables


def different_items(sets: pd.DataFrame) -> list[tuple[str, list[int]]]:
    """Metrics of sets whose methods were scored on different items, with the numbers N of these."""
    found = []
    rivals = sets[~sets["label"].isin(CALIBRATION)].dropna(subset=["value"])
    for metric, group in rivals.groupby("metric", sort=True):
        if len(group[["n", "items"]].drop_duplicates()) > 1:
            found.append((str(metric), sorted({int(n) for n in group["n"]})))
    return found


def out_of_order(table: pd.DataFrame) -> list[str]:
    """One sentence per metric whose calibration rows contradict what it claims to measure.

    structure: identity beats reference_copy and no method beats identity; style (and FID, KID): reference_copy beats
    identity. A method may fall below the worse row or, with several references, beat the copy of one of them. A mean
    over references has no order.
    """
    complaints = []
    for metric, group in table[table["source"] == "ours"].groupby("metric", sort=True):
        known, values = metric_info(str(metric)), group.set_index("label")["value"].dropna()
        known_order = known.ordered and known.kind in ("structure", "style")
        if not known_order or not set(CALIBRATION) <= set(values.index):
            continue
        winner, loser = CALIBRATION if known.kind == "structure" else CALIBRATION[::-1]
        if not known.better(values[winner], values[loser]):
            complaints.append(
                f"{metric} is out of order: {winner} ({values[winner]:.4g}) must beat {loser} ({values[loser]:.4g})"
            )
        elif known.kind == "structure" and any(known.better(value, values[IDENTITY]) for value in values):
            complaints.append(f"{metric} is out of order: a method beats {IDENTITY} ({values[IDENTITY]:.4g})")
    return complaints


def wrong_artfid(table: pd.DataFrame) -> list[str]:
    """One sentence per row whose `artfid` is not (1 + lpips_alex)(1 + fid_art), where the three have the same items."""
    ours = table[table["source"] == "ours"].dropna(subset=["value"]).set_index(["label", "metric"])
    complaints = []
    for label in ours.index.unique("label"):
        rows = ours.loc[label]
        if {"artfid", "lpips_alex", "fid_art"} <= set(rows.index):
            rows = rows.loc[["lpips_alex", "fid_art", "artfid"]]
            lpips, fid, artfid = rows["value"]
            product = (1 + lpips) * (1 + fid)
            if rows["n"].nunique() == 1 and abs(product - artfid) > ARTFID_TOLERANCE:
                complaints.append(f"artfid of {label} is {artfid:.5g}, but its parts make {product:.5g}")
    return complaints
