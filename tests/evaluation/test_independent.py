"""The independent annotation: its regions, its matches, where its labels come from; StyleGallery has no part in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import Gallery
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from sklearn.metrics import adjusted_rand_score

from data.custom import custom_item
from evaluation import annotations, independent
from evaluation.annotation_files import read_annotation
from evaluation.independent import IndependentAnnotator, with_labels
from evaluation.publish.claims import read_claims
from evaluation.registry import METRICS, metric_info
from harness.frozen import freeze
from stylegallery.contract import Item
from stylegallery.provenance import ROOT, reachable


@pytest.fixture(scope="module")
def annotator() -> IndependentAnnotator:
    return IndependentAnnotator()


def halves(path: Path, first: str, second: str, across: bool = False) -> Path:
    """A picture of two of the repository's style pictures side by side, or one above the other."""
    canvas = Image.new("RGB", (192, 192))
    for index, name in enumerate((first, second)):
        part = Image.open(ROOT / "data" / "samples" / "style" / f"{name}.jpg").resize((192, 192))
        box = (0, 96 * index, 192, 96 * index + 96) if across else (96 * index, 0, 96 * index + 96, 192)
        canvas.paste(part.crop(box), box[:2])
    canvas.save(path)
    return path


def label(path: Path, *shapes: tuple[str, list[list[int]]], size: int = 192) -> Path:
    """A labelme file of rectangles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rectangles = [{"label": name, "shape_type": "rectangle", "points": points} for name, points in shapes]
    path.write_text(json.dumps({"imageWidth": size, "imageHeight": size, "shapes": rectangles}))
    return path


LEFT, RIGHT = [[0, 0], [95, 191]], [[96, 0], [191, 191]]


@pytest.mark.slow
def test_regions_follow_what_differs(annotator: IndependentAnnotator, tmp_path: Path) -> None:
    """Where a mosaic meets a pencil drawing there is a border, and twice the same picture gives the same regions."""
    picture = halves(tmp_path / "picture.png", "mosaic_bay", "pencil_still_life")
    found = annotator.regions(picture, None)
    assert found.labels.shape == (256, 256) and found.labels.min() == 1
    sides = [set(np.unique(part[part > 0])) for part in (found.labels[:, :112].numpy(), found.labels[:, 144:].numpy())]
    largest = [np.bincount(part.ravel()).argmax() for part in (found.labels[:, :112], found.labels[:, 144:])]
    assert largest[0] != largest[1] and len(sides[0] | sides[1]) <= 8
    again = IndependentAnnotator().regions(picture, None)
    assert torch.equal(found.labels, again.labels) and torch.equal(found.features, again.features)


def test_a_plain_picture_has_regions_too(annotator: IndependentAnnotator, tmp_path: Path) -> None:
    Image.new("RGB", (96, 64), (40, 90, 160)).save(tmp_path / "plain.png")
    labels = annotator.regions(tmp_path / "plain.png", None).labels
    assert 1 in labels and labels.max() <= 3 and labels.min() == 1 and labels.shape == (209, 314)


def test_labels_are_taken_as_they_are_and_gaps_are_filled(annotator: IndependentAnnotator, tmp_path: Path) -> None:
    picture = halves(tmp_path / "picture.png", "mosaic_bay", "pencil_still_life")
    truth = np.repeat([[1] * 128 + [2] * 128], 256, 0)
    whole = annotator.regions(picture, label(tmp_path / "whole.json", ("a", LEFT), ("b", RIGHT))).labels.numpy()
    assert adjusted_rand_score(truth.ravel(), whole.ravel()) == 1.0
    half = annotator.regions(picture, label(tmp_path / "half.json", ("b", RIGHT))).labels.numpy()
    assert len(np.unique(half[:, 128:])) == 1 and half.min() == 1
    assert half[0, 255] not in half[:, :128]


def test_every_region_finds_its_like_wherever_it_lies(annotator: IndependentAnnotator, tmp_path: Path) -> None:
    """Content: mosaic | pencil. References: ink above village, and pencil | mosaic, with labels."""
    content = halves(tmp_path / "content.png", "mosaic_bay", "pencil_still_life")
    other = halves(tmp_path / "other.png", "ink_mountains", "painterly_village", across=True)
    swapped = Image.open(content)
    swapped = Image.fromarray(np.roll(np.asarray(swapped), 96, 1))
    swapped.save(tmp_path / "swapped.png")
    mask = str(label(tmp_path / "mask.json", ("a", LEFT), ("b", RIGHT)))
    item = custom_item(str(content), [str(other), str(tmp_path / "swapped.png")], mask, [None, mask])
    annotation = annotator.annotate(item)
    assert [(m.content_region, m.reference, m.reference_region) for m in annotation.matches] == [(1, 2, 2), (2, 2, 1)]
    assert all(0.6 < match.score <= 1.0 for match in annotation.matches)


def test_labels_of_references_replace_found_regions_and_nothing_else(
    annotator: IndependentAnnotator, tmp_path: Path
) -> None:
    (tmp_path / "Monet").mkdir()
    content = halves(tmp_path / "0001.png", "mosaic_bay", "pencil_still_life")
    reference = halves(tmp_path / "Monet" / "M1.png", "ink_mountains", "painterly_village")
    item = Item("x", content, (reference, reference))
    masks = tmp_path / "masks"
    assert with_labels(item, masks) == Item("x", content, (reference, reference), None, (None, None))
    of_content = label(masks / "0001.json", ("a", LEFT), ("b", RIGHT))
    before = annotator.annotate(with_labels(item, masks))
    of_reference = label(masks / "Monet" / "M1.json", ("a", LEFT), ("b", RIGHT))
    labelled = with_labels(item, masks)
    assert (labelled.mask, labelled.reference_masks) == (of_content, (of_reference, of_reference))
    after = annotator.annotate(labelled)
    assert torch.equal(before.content_labels, after.content_labels)
    assert [set(labels.unique().tolist()) for labels in after.reference_labels] == [{1, 2}, {1, 2}]
    assert {(m.reference, m.reference_region) for m in after.matches} <= {(1, 1), (1, 2)}


def test_no_stage_of_stylegallery_takes_part() -> None:
    sources = {path.relative_to(ROOT).as_posix() for path in reachable(frozenset({"evaluation.independent"}))}
    assert "stylegallery/encoders.py" in sources
    assert not sources & {f"stylegallery/{name}.py" for name in ("segmentation", "guidance", "diffusion", "pipeline")}


# --- the command ---


@pytest.mark.slow
def test_the_command_writes_it_beside_the_annotation_of_stylegallery(
    fake_config: Callable[..., DictConfig], gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A run of baselines has it without any settings; the user's masks are its labels."""
    out, masks = tmp_path / "out", tmp_path / "masks"
    for number in range(4):
        label(masks / f"c{number}.json", ("a", [[0, 0], [31, 63]]), ("b", [[32, 0], [63, 63]]), size=64)
    freeze(out, "plain", fake_config(f"data.masks={masks}", "limit=2"))
    monkeypatch.setattr("sys.argv", ["annotations", str(out), "--annotator", "independent"])
    with pytest.raises(SystemExit, match="0"):
        annotations.main()
    folders = sorted((out / "annotations" / "independent").iterdir())
    assert [folder.name for folder in folders] == ["c0__set1", "c0__set2"] and not (
        out / "annotations" / "stylegallery"
    ).exists()
    annotation = read_annotation(folders[0])
    assert torch.equal(annotation.content_labels[:, :128], torch.ones(256, 128, dtype=torch.int64))
    monkeypatch.setattr(independent.IndependentAnnotator, "annotate", None)  # they are there
    assert annotations.annotate_independently(out, [], Console(quiet=True)) == 0
    monkeypatch.setattr("sys.argv", ["annotations", str(out), "--annotator", "independent", "model=sd15"])
    with pytest.raises(SystemExit, match="2"):
        annotations.main()
    assert "has no settings" in capsys.readouterr().err


# --- scores and claims ---


def test_every_score_of_regions_is_about_both_annotations() -> None:
    names = {path.stem for path in METRICS.glob("regional_*.yaml")}
    own = {name for name in names if not name.endswith("_independent")}
    assert names - own == {f"{name}_independent" for name in own} and len(own) == 7
    assert all(metric_info(name).kind == "regional" for name in names)
    for name in names - own:
        config: Any = yaml.safe_load((METRICS / f"{name}.yaml").read_text())
        twin: Any = yaml.safe_load((METRICS / f"{name.removesuffix('_independent')}.yaml").read_text())
        assert config == twin | {"annotator": "independent"}


def test_every_claim_about_regions_is_about_both_and_none_where_it_cannot_fail() -> None:
    for claim in read_claims():
        own = {name for name in claim.metrics if name.startswith("regional_") and not name.endswith("_independent")}
        other = {name.removesuffix("_independent") for name in claim.metrics if name.endswith("_independent")}
        if claim.id == "matching":
            assert not own and len(other) == 4
        else:
            assert own == other, claim.id
