"""The scoring command on folders of finished cells: what it writes, skips, repairs and reports."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import paint, result_record
from odd_pictures import BROKEN_PICTURES
from rich.console import Console

from evaluation import samples
from evaluation.annotation_files import write_annotation
from evaluation.metric import Annotation, MissingWeights
from evaluation.metrics.fid import Fid
from evaluation.metrics.histogram import Histogram
from evaluation.metrics.ms_ssim import MsSsim
from evaluation.results import read_results
from evaluation.samples import Result, read_picture
from evaluation.score import main, score
from harness.folder import ResultFolder, RunFolder
from harness.pictures import Pictures
from harness.record import Request
from stylegallery import images
from stylegallery.contract import Match
from stylegallery.errors import InputError
from stylegallery.provenance import file_digest
from stylegallery.weights import table

NAMES = ["ms_ssim", "histogram"]
INDEPENDENT = "regional_style_efficientnet_independent"


def entry(path: Path) -> dict[str, str]:
    """What a record says of an input."""
    return {"path": str(path), "sha256": file_digest(path)}


def cell(out: Path, label: str, item: str, seed: int = 7, **record: Any) -> Path:
    folder = out / "cells" / label / item
    folder.mkdir(parents=True)
    pictures = out.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    paths = {
        "content": paint(pictures / f"{item}.png", 1, (96, 80)),
        "reference 1": paint(pictures / "first.png", 2),
        "reference 2": paint(pictures / "second.png", 3, (50, 70)),
    }
    inputs = {role: entry(path) for role, path in paths.items()}
    if "error" not in record:
        paint(folder / "stylised.png", seed, (80, 64))
    result_record(folder, **{"inputs": inputs, "size": [80, 64], **record})
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two methods, two items."""
    for label in ("identity", "stylegallery@content_weight=0.22"):
        for item in ("0001__a", "0002__b"):
            cell(tmp_path / "out", label, item)
    return tmp_path / "out"


@pytest.fixture
def console() -> Console:
    return Console(file=open(os.devnull, "w"), width=200)  # noqa: PTH123


def rows(folder: Path, name: str = "scores.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())["metrics"]


def scored(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text())


def test_results_of_different_size_are_compared_at_the_smallest(out: Path, console: Console) -> None:
    for folder in out.glob("cells/*/*"):
        record = json.loads((folder / "record.json").read_text())
        (folder / "record.json").write_text(json.dumps(record | {"size": [80, 64]}))
    assert score(out, NAMES, None, console)
    assert {scored(folder)["size"] for folder in out.glob("cells/*/0*")} == {None}
    paint(cell(out, "instantstyle", "0001__a", size=[160, 128]) / "stylised.png", 9, (160, 128))
    assert score(out, NAMES, None, console)
    assert {scored(folder)["size"] for folder in out.glob("cells/*/0*")} == {64}


def test_regional_scores_are_computed_again_when_the_annotation_changes(
    out: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {"digest": "first"}
    monkeypatch.setattr(samples, "annotation_digest", lambda folder: digests["digest"])
    assert score(out, ["regional_style_efficientnet", "ms_ssim"], None, console)
    folder = next(out.glob("cells/identity/*"))
    assert rows(folder)["regional_style_efficientnet"]["annotation"] == "first"
    assert "annotation" not in rows(folder)["ms_ssim"]
    found = rows(folder)
    found["regional_style_efficientnet"] |= {"value": 0.25, "reason": None}
    found["ms_ssim"]["value"] = 0.5
    (folder / "scores.json").write_text(json.dumps(scored(folder) | {"metrics": found}))
    assert score(out, ["regional_style_efficientnet", "ms_ssim"], None, console)
    assert rows(folder) == found
    digests["digest"] = "second"
    assert score(out, ["regional_style_efficientnet", "ms_ssim"], None, console)
    now = rows(folder)
    assert now["ms_ssim"] == found["ms_ssim"]
    assert now["regional_style_efficientnet"]["annotation"] == "second"
    assert now["regional_style_efficientnet"]["value"] is None  # there is no annotation on disk


@pytest.mark.slow
def test_scores_of_regions_are_about_their_own_annotation(out: Path, console: Console) -> None:
    """Each has its own regions and digest; another annotation makes the scores about it stale and no others."""
    names = ["regional_style_efficientnet", INDEPENDENT]
    folder, item = out / "cells" / "identity" / "0001__a", "0001__a"
    halves = torch.ones(8, 8, dtype=torch.int64)
    halves[:, 4:] = 2
    whole = torch.ones(8, 8, dtype=torch.int64)

    def annotate(annotator: str, seed: int, *targets: tuple[int, int]) -> str:
        matches = [Match(region, *target, 0, 0, 0, 0, False) for region, target in enumerate(targets, 1)]
        request = Request(item, seed, {}, {}, {}, {}, "code")
        labels = halves if len(targets) == 2 else whole
        write_annotation(
            RunFolder(out).annotation(annotator, item), Annotation(labels, [halves, whole], matches), request
        )
        return request.digest()

    own = annotate("stylegallery", 0, (1, 1), (2, 1))
    score(out, names, None, console)
    other = annotate("independent", 1, (1, 2))
    score(out, names, None, console)
    found = rows(folder)
    assert [found[name]["annotation"] for name in names] == [own, other]
    values = [found[name]["value"] for name in names]
    assert None not in values and values[0] != values[1]
    for record in out.glob("cells/*/*/record.json"):
        about = {"seconds": {"all": 1.0}, "peak_memory_mib": 1.0, "config": {}}
        record.write_text(json.dumps(json.loads(record.read_text()) | about))
    shown = read_results(out).items.set_index(["label", "item", "metric"])
    assert shown.loc[("identity", item, names[1]), "value"] == values[1]
    annotate("independent", 2, (2, 1))
    shown = read_results(out).items.set_index(["label", "item", "metric"])
    assert shown.loc[("identity", item, names[0]), "value"] == values[0]
    stale = shown.loc[("identity", item, names[1])]
    assert np.isnan(stale["value"]) and stale["reason"].startswith("not scored on the present regions and matches")
    score(out, names, None, console)
    assert rows(folder)[names[0]]["value"] == values[0] and rows(folder)[names[1]]["value"] != values[1]


def test_every_cell_gets_its_values(out: Path, console: Console) -> None:
    assert score(out, NAMES, None, console)
    for folder in out.glob("cells/*/*"):
        if not folder.is_dir():
            continue
        found = scored(folder)
        inputs = json.loads((folder / "record.json").read_text())["inputs"]
        digests = {"result": file_digest(folder / "stylised.png")} | {r: e["sha256"] for r, e in inputs.items()}
        assert found["pictures"] == digests
        assert list(found["metrics"]) == ["histogram", "ms_ssim"]
        sample = Result(ResultFolder(folder), Pictures(out)).sample(None)
        assert sample.content.shape == sample.references[1].shape == sample.image.shape == (1, 3, 64, 80)
        expected = {"value": MsSsim()([sample])[0], "version": MsSsim.version, "reason": None}
        assert found["metrics"]["ms_ssim"] == expected
    assert not list(out.rglob("*.tmp"))


def test_size_resizes_everything_and_is_part_of_what_is_scored(out: Path, console: Console) -> None:
    score(out, ["ms_ssim"], None, console)
    folder = out / "cells" / "identity" / "0001__a"
    native = rows(folder)["ms_ssim"]["value"]
    score(out, ["ms_ssim"], 48, console, anew=True)
    assert scored(folder)["size"] == 48
    assert rows(folder)["ms_ssim"]["value"] != native
    assert Result(ResultFolder(folder), Pictures(out)).sample(48).references[0].shape == (1, 3, 48, 48)


def test_scores_of_another_size_are_replaced_on_purpose_only(out: Path, console: Console) -> None:
    """A size given once holds for what is scored later: --size is a setting of the scores, not of one command."""
    score(out, NAMES, None, console)
    folder = out / "cells" / "identity" / "0001__a"
    before = (folder / "scores.json").read_bytes()
    with pytest.raises(InputError, match=r"scores of results at their own size; leave out --size .* pass --anew"):
        score(out, ["ms_ssim"], 48, console)
    assert (folder / "scores.json").read_bytes() == before
    score(out, NAMES, 48, console, anew=True)
    at_48 = scored(folder)
    score(out, NAMES, None, console)
    score(out, ["edge_f1"], None, console)
    assert scored(folder)["size"] == 48 and {name: rows(folder)[name] for name in NAMES} == at_48["metrics"]
    with pytest.raises(InputError, match="at 48 px"):
        score(out, NAMES, 64, console)
    score(out, NAMES, None, console, anew=True)
    assert scored(folder)["size"] is None


def test_only_what_is_due_is_computed(out: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = MsSsim.__call__

    def counted(self: MsSsim, samples: list) -> list[float]:
        seen.extend(sample.item for sample in samples)
        return original(self, samples)

    monkeypatch.setattr(MsSsim, "__call__", counted)
    score(out, NAMES, None, console)
    assert len(seen) == 4
    score(out, NAMES, None, console)
    assert len(seen) == 4
    paint(out / "cells" / "identity" / "0002__b" / "stylised.png", 11, (80, 64))
    score(out, NAMES, None, console)
    assert seen[4:] == ["0002__b"]
    monkeypatch.setattr(MsSsim, "version", 9)
    score(out, NAMES, None, console)
    assert len(seen) == 9
    folder = out / "cells" / "identity" / "0001__a"
    assert [rows(folder)[name]["version"] for name in ("ms_ssim", "histogram")] == [9, Histogram.version]
    score(out, ["edge_f1"], None, console)  # another selection leaves the values that are there
    assert set(rows(folder)) == {"edge_f1", "histogram", "ms_ssim"}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "is missing"),
        ("truncated_png", "is damaged"),
        ("zero_bytes", "is empty"),
        ("huge", "megapixels"),
    ],
)
def test_an_unreadable_picture_is_one_row_with_a_reason(kind: str, says: str, out: Path, console: Console) -> None:
    broken = out / "cells" / "identity" / "0001__a"
    (broken / "stylised.png").unlink()
    BROKEN_PICTURES[kind].make(broken / "stylised.png")
    assert not score(out, [*NAMES, "fid_efficientnet"], None, console)
    for row in rows(broken).values():
        assert row["value"] is None
        assert row["reason"].startswith("failed: ") and says in row["reason"]
    others = [folder for folder in out.glob("cells/*/*") if folder.is_dir() and folder != broken]
    assert len(others) == 3
    assert all(row["value"] is not None for folder in others for row in rows(folder).values())
    sets = [json.loads(path.read_text()) for path in sorted(out.glob("cells/*/sets.json"))]
    assert [found["n"] for found in sets] == [1, 2]
    assert "at least two" in sets[0]["metrics"]["fid_efficientnet"]["reason"]
    assert sets[1]["metrics"]["fid_efficientnet"]["value"] > 0


def test_a_mended_picture_is_scored_next_time(out: Path, console: Console) -> None:
    image = out / "cells" / "identity" / "0001__a" / "stylised.png"
    good = image.read_bytes()
    image.write_bytes(b"")
    assert not score(out, NAMES, None, console)
    image.write_bytes(good)
    assert score(out, NAMES, None, console)
    assert all(row["value"] is not None for row in rows(image.parent).values())


def test_failed_items_lost_inputs_and_damaged_records(tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    other, one = (paint(tmp_path / f"{name}.png", 1) for name in ("other", "one"))
    many = {"content": entry(one)} | {f"reference {number}": entry(one) for number in range(1, 1001)}
    folders = {
        "no memory left": cell(out, "m", "failed", error="no memory left"),
        "record.json cannot be read": cell(out, "m", "damaged"),
        "other.png is missing": cell(out, "m", "lost", inputs={"content": entry(other)}),
        "it has 1000 references, and scores are of 999 at most": cell(out, "m", "many", inputs=many),
    }
    other.unlink()
    (folders["record.json cannot be read"] / "record.json").write_text("{")
    fine = cell(out, "m", "fine")
    assert not score(out, NAMES, None, console)
    for reason, folder in folders.items():
        assert all(row["value"] is None and reason in row["reason"] for row in rows(folder).values())
    assert all(row["value"] is not None for row in rows(fine).values())


@pytest.mark.parametrize("loss", ["missing", "changed since the result"])
def test_what_was_scored_stays_when_an_input_is_lost(
    loss: str, out: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric without weights is computed again every time, and then finds that an input is no longer there."""

    def without_weights(self: Histogram, samples: list) -> list[float]:
        raise MissingWeights("vgg19")

    monkeypatch.setattr(Histogram, "__call__", without_weights)
    names = [*NAMES, "fid_efficientnet"]
    assert score(out, names, None, console)
    folder = out / "cells" / "identity"
    before, sets = rows(folder / "0001__a"), (folder / "sets.json").read_bytes()
    reference = out.parent / "pictures" / "second.png"
    reference.unlink()
    if "changed" in loss:
        paint(reference, 5)
    assert not score(out, names, None, console)
    after = rows(folder / "0001__a")
    assert after["ms_ssim"] == before["ms_ssim"] and before["ms_ssim"]["value"] is not None
    assert after["histogram"]["reason"].startswith(f"failed: {reference}") and loss in after["histogram"]["reason"]
    assert (folder / "sets.json").read_bytes() == sets


def test_a_result_is_not_scored_against_another_reference(out: Path, console: Console) -> None:
    reference = paint(out.parent / "pictures" / "second.png", 5, (50, 70))
    assert not score(out, [*NAMES, "fid_efficientnet"], None, console)
    folder = out / "cells" / "identity"
    found = [*rows(folder / "0001__a").values(), rows(folder, "sets.json")["fid_efficientnet"]]
    reason = f"failed: {reference} changed since the result; restore it or run the item again"
    assert [(row["value"], row["reason"]) for row in found] == [(None, reason)] * 3
    paint(reference, 3, (50, 70))
    assert score(out, [*NAMES, "fid_efficientnet"], None, console)


def test_damaged_weights_are_the_reason_of_their_metrics(
    out: Path, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("inception", "vgg19"):
        entry = table()[name]
        entry.root().mkdir(parents=True, exist_ok=True)
        (entry.root() / entry.files[0]).write_bytes(b"<html>")
    assert score(out, ["gram_vgg19", "kid", "ms_ssim"], None, console)
    folder = out / "cells" / "identity"
    found = rows(folder / "0001__a")
    for metric in (found["gram_vgg19"], rows(folder, "sets.json")["kid"]):
        assert re.search(r"is damaged \(.+\); delete it and run", metric["reason"])
    assert found["ms_ssim"]["value"] is not None


def test_missing_weights_and_annotations_are_reasons_not_failures(
    out: Path, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    assert score(out, ["lpips_alex", "regional_style_efficientnet", INDEPENDENT, "ms_ssim", "artfid"], None, console)
    for folder in out.glob("cells/*/0002__b"):
        found = rows(folder)
        assert found["lpips_alex"]["reason"] == "missing: python -m stylegallery.weights fetch lpips_alex"
        for name, annotator in (("regional_style_efficientnet", "stylegallery"), (INDEPENDENT, "independent")):
            assert found[name]["reason"] == f"missing: python -m evaluation.annotations OUT --annotator {annotator}"
        assert found["ms_ssim"]["value"] is not None
    assert rows(out / "cells" / "identity", "sets.json")["artfid"]["reason"].startswith("missing: python -m")


def test_a_value_that_is_not_finite_is_a_failure(out: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MsSsim, "__call__", lambda self, samples: [float("nan")] * len(samples))
    score(out, ["ms_ssim"], None, console)
    row = rows(out / "cells" / "identity" / "0001__a")["ms_ssim"]
    assert (row["value"], row["reason"]) == (None, "failed: the value is nan")


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda samples: [0.5] * (len(samples) + 1), "2 for 1"),
        (lambda samples: torch.ones(len(samples)), "Tensor"),
        (lambda samples: [torch.ones(())] * len(samples), "Tensor"),
        (lambda samples: 0.5, "float"),
    ],
)
def test_a_metric_that_returns_something_else_is_told_what_to_return(
    returned: Callable[[list], object], says: str, out: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MsSsim, "__call__", lambda self, samples: returned(samples))
    score(out, NAMES, None, console)
    found = rows(out / "cells" / "identity" / "0001__a")
    assert found["ms_ssim"]["reason"] == f"failed: a metric returns a list with one float per sample, not {says}"
    assert found["histogram"]["value"] is not None


def test_a_bug_in_a_metric_is_its_reason_with_the_line_and_leaves_the_others(
    out: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MsSsim, "__call__", lambda self, samples: [sample.picture for sample in samples])
    score(out, NAMES, None, console)
    found = rows(out / "cells" / "identity" / "0001__a")
    says = r"failed: AttributeError at .+/test_score\.py:\d+: 'Sample' object has no attribute 'picture'"
    assert re.fullmatch(says, found["ms_ssim"]["reason"])
    assert found["histogram"]["value"] is not None


def test_one_sample_a_metric_cannot_do_leaves_the_others(
    out: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(self: MsSsim, samples: list) -> list[float]:
        if any(sample.item == "0001__a" for sample in samples):
            raise ValueError("too plain")
        return [0.5] * len(samples)

    monkeypatch.setattr(MsSsim, "__call__", picky)
    score(out, ["ms_ssim"], None, console)
    assert rows(out / "cells" / "identity" / "0001__a")["ms_ssim"]["reason"] == "failed: too plain"
    assert rows(out / "cells" / "identity" / "0002__b")["ms_ssim"]["value"] == 0.5


def test_sets_are_computed_again_when_an_item_is_added(out: Path, console: Console) -> None:
    score(out, ["fid_efficientnet"], None, console)
    folder = out / "cells" / "identity"
    before = json.loads((folder / "sets.json").read_text())
    cell(out, "identity", "0003__c", seed=9)
    score(out, ["fid_efficientnet"], None, console)
    after = json.loads((folder / "sets.json").read_text())
    assert (before["n"], after["n"]) == (2, 3)
    assert before["metrics"]["fid_efficientnet"]["value"] != after["metrics"]["fid_efficientnet"]["value"]


def test_a_set_has_the_interval_of_its_contents(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eleven items of ten contents; with nine contents there is a reason in place of the interval."""
    monkeypatch.setattr(Fid, "__call__", lambda self, samples: lambda part: float(part.sum()))
    out = tmp_path / "out"
    for number in range(11):
        folder = cell(out, "m", f"{number:02}", seconds={}, peak_memory_mib=1.0)
        record = json.loads((folder / "record.json").read_text())
        record["inputs"]["content"] = entry(paint(tmp_path / f"{number % 10}.png", number % 10))
        (folder / "record.json").write_text(json.dumps(record))
    assert score(out, ["fid_efficientnet"], None, console)
    row = rows(out / "cells" / "m", "sets.json")["fid_efficientnet"]
    half = 2.2622 * (9 / 10 * (10 * 0.3**2)) ** 0.5  # parts of ten items and, once, of nine
    assert row == {
        "value": 11.0, "version": Fid.version, "reason": None, "contents": 10,
        "low": pytest.approx(11 - half, rel=1e-3), "high": pytest.approx(11 + half, rel=1e-3),
    }  # fmt: skip
    (found,) = read_results(out).sets.to_dict("records")
    assert {key: found[key] for key in row} == row and found["n"] == 11
    shutil.rmtree(out / "cells" / "m" / "09")
    assert score(out, ["fid_efficientnet"], None, console)
    row = rows(out / "cells" / "m", "sets.json")["fid_efficientnet"]
    assert (row["value"], row.get("low"), row.get("high"), row["contents"]) == (10.0, None, None, 9)
    assert row["reason"] == "no interval: 9 different contents, fewer than 10"


def test_shared_pictures_are_read_once(out: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    read_picture.cache_clear()
    read: list[Path] = []
    original = images.read_image
    monkeypatch.setattr(images, "read_image", lambda path: read.append(path) or original(path))
    score(out, NAMES, None, console)
    assert len(read) == 4 + 2 + 2  # four results, two contents, two references


def test_order_of_ten_references(tmp_path: Path) -> None:
    names = [f"reference {number}" for number in range(1, 12)]
    inputs = {"content": entry(paint(tmp_path / "c.png", 0))} | {
        name: entry(paint(tmp_path / f"{name}.png", 10 + index)) for index, name in enumerate(names)
    }
    folder = cell(tmp_path / "out", "m", "many", inputs=dict(sorted(inputs.items())))
    references = Result(ResultFolder(folder), Pictures(out)).sample(64).references
    expected = [samples.picture(tmp_path / f"{name}.png", (64, 64)) for name in names]
    assert all(torch.equal(a, b) for a, b in zip(references, expected, strict=True))


def test_command_line(out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["score", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return int(str(stop.value.code)), streams.out + streams.err

    code, text = call(str(out), "--metrics", "ms_ssim", "--size", "64")
    assert code == 0 and "ms_ssim" in text and "4/4" in text
    assert call(str(out), "--metrics", "beauty")[0] == 2
    assert "beauty is not a metric" in call(str(out), "--metrics", "beauty")[1]
    assert "at least 32" in call(str(out), "--size", "8")[1]
    assert call(str(out / "nowhere"))[0] == 2
    (out / "cells" / "identity" / "0001__a" / "stylised.png").write_bytes(b"")
    code, text = call(str(out), "--metrics", "ms_ssim", "--size", "64")
    assert code == 1 and "identity/0001__a: failed:" in text and "3/4" in text


def test_a_folder_that_cannot_be_written(out: Path, console: Console) -> None:
    (out / "cells" / "identity" / "0001__a" / "scores.json").mkdir()
    with pytest.raises(InputError, match=r"scores.json cannot be written"):
        score(out, ["ms_ssim"], None, console)
    (out / "cells" / "identity" / "0001__a" / "scores.json").rmdir()
    assert score(out, ["ms_ssim"], None, console)
