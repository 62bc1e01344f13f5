"""What the results under one label do not share, although they are averaged: code, seed, weights, versions, machine."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.provenance import without_places

FIELDS = ("code", "seed", "config", "weights")  # of a record
ENVIRONMENT = ("torch", "device", "dtype", "threads")  # of its environment; threads decide the last bits on a CPU


def mixtures(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A sentence for every label whose results (label -> records; failures are left out) differ in something that may
    change them, and one for every such thing that differs between labels whose own results agree.

    Code, seed, config and weights are a label's own: these are only compared within labels.
    """
    sentences, own = [], {}
    for label, some in records.items():
        done = [record for record in some if "error" not in record]
        found = {
            name: Counter(text_of(name, source.get(name)) for source in sources)
            for names, sources in ((FIELDS, done), (ENVIRONMENT, [record.get("environment", {}) for record in done]))
            for name in names
        }
        for name, counts in found.items():
            if len(counts) > 1:
                parts = ", ".join(f"{number} of {value}" for value, number in counts.most_common())
                sentences.append(f"{label} mixes results of different {name}: {parts}")
        own[label] = {name: next(iter(found[name])) for name in ENVIRONMENT if len(found[name]) == 1}
    for name in ENVIRONMENT:
        by_value: dict[str, list[str]] = {}
        for label, values in own.items():
            if name in values:
                by_value.setdefault(values[name], []).append(label)
        if len(by_value) > 1:
            parts = ", ".join(f"{value} ({', '.join(labels)})" for value, labels in by_value.items())
            sentences.append(f"labels differ in {name}: {parts}")
    return sentences


def text_of(name: str, value: Any) -> str:
    """A value as it is told apart and printed: settings by a digest, wherever weights lie, weights by theirs."""
    if name == "config":
        return hashlib.sha256(json.dumps(without_places(value), sort_keys=True).encode()).hexdigest()[:12]
    if isinstance(value, Mapping):
        return " ".join(str(value[key]) for key in sorted(value)) or "none"
    return "unknown" if value is None else str(value)
