"""Results of other code, seeds or machines under one label are named."""

from typing import Any

import pytest

from evaluation.mixture import mixtures


def record(**changes: Any) -> dict[str, Any]:
    environment = {"torch": "2.14.1", "device": "AMD EPYC", "dtype": "float32", "threads": "2"}
    base = {"code": "c0ffee", "seed": 0, "config": {"strength": 1, "path": "/here"}, "weights": {"model.path": "abc"}}
    base |= {key: value for key, value in changes.items() if key in base or key == "error"}
    return base | {"environment": environment | {key: value for key, value in changes.items() if key in environment}}


def test_results_that_agree_need_no_word() -> None:
    assert mixtures({"a": [record(), record()], "b": [record(code="other", seed=1, weights={})]}) == []
    assert mixtures({"a": [record(), record(code="old", error="failed long ago")]}) == []
    assert mixtures({"a": [record(), record(config={"strength": 1, "path": "/there"})]}) == []
    assert mixtures({}) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"code": "f00d"}, "a mixes results of different code: 3 of c0ffee, 1 of f00d"),
        ({"config": {"strength": 2}}, "a mixes results of different config: 3 of "),
        ({"seed": 1}, "a mixes results of different seed: 3 of 0, 1 of 1"),
        ({"weights": {"model.path": "xyz"}}, "a mixes results of different weights: 3 of abc, 1 of xyz"),
        ({"torch": "2.6"}, "a mixes results of different torch: 3 of 2.14.1, 1 of 2.6"),
        ({"device": "NVIDIA H200"}, "a mixes results of different device: 3 of AMD EPYC, 1 of NVIDIA H200"),
    ],
)
def test_a_mixture_is_named(change: dict[str, Any], says: str) -> None:
    (sentence,) = mixtures({"a": [record()] * 3 + [record(**change)], "b": [record()]})
    assert sentence.startswith(says)


def test_labels_of_two_machines_are_named() -> None:
    found = mixtures({"a": [record()], "b": [record(device="NVIDIA H200", dtype="bfloat16")], "c": [record()]})
    assert found == [
        "labels differ in device: AMD EPYC (a, c), NVIDIA H200 (b)",
        "labels differ in dtype: float32 (a, c), bfloat16 (b)",
    ]  # fmt: skip
    old = {key: value for key, value in record().items() if key != "environment"}
    assert mixtures({"a": [record(), old]})[0] == "a mixes results of different torch: 1 of 2.14.1, 1 of unknown"
