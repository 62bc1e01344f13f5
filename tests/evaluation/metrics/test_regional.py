"""Regional scores: the annotation they share, what pasting, permuting and blurring must do to them."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import Gallery, Pictures, paint
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor

from data.custom import custom_item
from evaluation import annotations
from evaluation.annotation_files import annotation_digest, read_annotation, write_annotation
from evaluation.annotations import regions_and_matches
from evaluation.metric import STYLEGALLERY, Annotation, Sample
from evaluation.metrics.regional import (
    EfficientNetGrams,
    RegionalMargin,
    RegionalStyle,
    area_weights,
    masked_crop,
    masked_gram,
    similarities,
)
from harness.frozen import freeze
from harness.record import Input, Request
from stylegallery.contract import Item, Match
from stylegallery.errors import InputError
from stylegallery.images import read_image
from stylegallery.pipeline import StyleGallery
from stylegallery.regions import resize_labels

CONF = Path(__file__).parents[3] / "conf"
SIDE, GRID = 128, 16


def texture(kind: int, size: int = SIDE) -> Tensor:
    """Four stationary textures (1, 3, size, size) of their own palette: stripes, checks, noise, dots."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    noise = torch.rand(size, size, generator=torch.Generator().manual_seed(kind))
    pattern = [(rows // 2 % 2).float(), ((rows // 8 + columns // 8) % 2).float(), noise, (noise > 0.9).float()][kind]
    low, high = torch.tensor(
        [[[0.9, 0.7, 0.2], [0.8, 0.4, 0.1]], [[0.1, 0.3, 0.6], [0.2, 0.5, 0.9]],
         [[0.2, 0.5, 0.2], [0.4, 0.8, 0.3]], [[0.7, 0.2, 0.5], [0.9, 0.6, 0.8]]]
    )[kind]  # fmt: skip
    return (low[:, None, None] * (1 - pattern) + high[:, None, None] * pattern)[None]


def match(content_region: int, reference: int, reference_region: int) -> Match:
    return Match(content_region, reference, reference_region, 0, 0, 0, 0, False)


def compose(labels: Tensor, fills: list[Tensor]) -> Tensor:
    """Region i of labels filled with fills[i - 1]."""
    large = resize_labels(labels, (SIDE, SIDE))
    return sum(fill * (large == region) for region, fill in enumerate(fills, 1))


@pytest.fixture(scope="module")
def pasted() -> Sample:
    """Three content regions, two references of two regions each; every content region is pasted from its match."""
    content_labels = torch.ones(GRID, GRID, dtype=torch.int64)
    content_labels[:, 9:] = 2
    content_labels[10:, :] = 3
    halves = torch.ones(GRID, GRID, dtype=torch.int64)
    halves[:, 7:] = 2
    references = [compose(halves, [texture(0), texture(1)]), compose(halves, [texture(2), texture(3)])]
    gradient = torch.linspace(0.2, 0.8, SIDE).expand(1, 3, SIDE, SIDE)
    annotation = Annotation(content_labels, [halves, halves], [match(1, 1, 1), match(2, 2, 1), match(3, 1, 2)])
    return Sample(
        "item", gradient, references, compose(content_labels, [texture(0), texture(2), texture(1)]), annotation
    )


def with_image(sample: Sample, image: Tensor) -> Sample:
    return replace(sample, image=image)


@pytest.fixture(scope="module")
def encoder() -> EfficientNetGrams:
    return EfficientNetGrams()


# --- regional_style and regional_margin ---


def test_pasted_references_score_high_and_have_a_wide_margin(pasted: Sample, encoder: EfficientNetGrams) -> None:
    assert RegionalStyle(encoder, STYLEGALLERY)([pasted])[0] > 0.8
    assert RegionalMargin(encoder, STYLEGALLERY)([pasted])[0] > 0.3


def test_permuting_the_regions_lowers_style_and_turns_the_margin_negative(
    pasted: Sample, encoder: EfficientNetGrams
) -> None:
    assert pasted.annotation is not None
    swapped = with_image(pasted, compose(pasted.annotation.content_labels, [texture(2), texture(1), texture(0)]))
    style, margin = RegionalStyle(encoder, STYLEGALLERY), RegionalMargin(encoder, STYLEGALLERY)
    assert style([swapped])[0] < style([pasted])[0] - 0.3
    assert margin([swapped])[0] < -0.3


def test_the_unchanged_content_scores_below_the_paste(pasted: Sample, encoder: EfficientNetGrams) -> None:
    identity = with_image(pasted, pasted.content)
    for metric in (RegionalStyle(encoder, STYLEGALLERY), RegionalMargin(encoder, STYLEGALLERY)):
        assert metric([identity])[0] < metric([pasted])[0] - 0.2


def test_blending_towards_the_content_lowers_style_step_by_step(pasted: Sample, encoder: EfficientNetGrams) -> None:
    blends = [with_image(pasted, pasted.image.lerp(pasted.content, t)) for t in (0.0, 0.3, 0.6, 1.0)]
    values = RegionalStyle(encoder, STYLEGALLERY)(blends)
    assert values == sorted(values, reverse=True) and values[0] - values[-1] > 0.2


@pytest.mark.parametrize("metric", ["style", "margin"])
def test_numbers_of_regions_and_references_do_not_matter(
    pasted: Sample, encoder: EfficientNetGrams, metric: str
) -> None:
    assert pasted.annotation is not None
    content_order, reference_order = torch.tensor([0, 3, 1, 2]), torch.tensor([0, 2, 1])
    renumbered = Annotation(
        content_order[pasted.annotation.content_labels],
        [reference_order[labels] for labels in pasted.annotation.reference_labels[::-1]],
        sorted(
            (
                match(int(content_order[m.content_region]), 3 - m.reference, int(reference_order[m.reference_region]))
                for m in pasted.annotation.matches
            ),
            key=lambda m: m.content_region,
        ),
    )
    other = Sample("item", pasted.content, pasted.references[::-1], pasted.image, renumbered)
    score = {"style": RegionalStyle(encoder, STYLEGALLERY), "margin": RegionalMargin(encoder, STYLEGALLERY)}[metric]
    assert score([other])[0] == pytest.approx(score([replace(pasted)])[0], abs=1e-6)


def test_area_weights_add_up_to_one_and_follow_the_pixels(pasted: Sample, encoder: EfficientNetGrams) -> None:
    table = similarities([pasted], encoder)[0]
    weights = area_weights(table.areas)
    assert weights.sum().item() == pytest.approx(1, abs=1e-12)
    assert (weights * SIDE**2).tolist() == pytest.approx([80 * 72, 80 * 56, 48 * 128])


@dataclass
class MeanColour:
    """An encoder whose answers can be worked out by hand; counts its calls."""

    name: str = "mean_colour"
    side: int = 16
    crops: int = 0

    def __call__(self, crops: Tensor, masks: Tensor) -> Tensor:
        self.crops += len(crops)
        return torch.nn.functional.normalize((crops * masks).sum((2, 3)), dim=1)


def test_values_of_a_worked_example() -> None:
    """Left quarter red as matched, the rest an even mix of green (its match) and blue."""
    labels = torch.ones(8, 8, dtype=torch.int64)
    labels[:, 2:] = 2
    red, green, blue = (torch.eye(3)[i].view(1, 3, 1, 1).expand(1, 3, 64, 64) for i in range(3))
    whole = torch.ones(8, 8, dtype=torch.int64)
    large = resize_labels(labels, (64, 64)) == 1
    image = torch.where(large, red, (green + blue) / 2)
    annotation = Annotation(labels, [whole] * 3, [match(1, 1, 1), match(2, 2, 1)])
    sample = Sample("item", image, [red, green, blue], image, annotation)
    assert RegionalStyle(MeanColour(), STYLEGALLERY)([sample])[0] == pytest.approx(0.25 + 0.75 * 0.5**0.5, abs=1e-5)
    sample = Sample("item", image, [red, green, blue], image, annotation)
    assert RegionalMargin(MeanColour(), STYLEGALLERY)([sample])[0] == pytest.approx(0.25, abs=1e-5)


def test_regions_are_encoded_once_for_all_scores_and_in_batches_with_the_same_values(pasted: Sample) -> None:
    encoder = MeanColour("counted")
    samples = [with_image(pasted, pasted.image.lerp(pasted.content, t)) for t in (0.0, 0.5)]
    together = RegionalStyle(encoder, STYLEGALLERY)(samples) + RegionalMargin(encoder, STYLEGALLERY)(samples)
    assert encoder.crops == 2 * 3 + 4  # two results, one set of references
    alone = [RegionalStyle(MeanColour("fresh"), STYLEGALLERY)([sample])[0] for sample in samples]
    assert together[:2] == pytest.approx(alone, abs=1e-6)


def test_a_crop_is_the_padded_box_of_the_region_filled_with_its_mean() -> None:
    labels = torch.zeros(8, 8, dtype=torch.int64)
    labels[2:4, 1:5] = 1
    labels[2, 1] = 2
    image = torch.full((1, 3, 32, 32), 0.9)
    image[..., 8:16, 4:20] = 0.25
    crop, mask = masked_crop(image, labels, 1, 16)
    assert crop.shape == (3, 16, 16) and mask.shape == (1, 16, 16)
    torch.testing.assert_close(crop, torch.full_like(crop, 0.25))
    expected = torch.zeros(16, 16)
    expected[4:12] = 1
    expected[4:8, :4] = 0
    torch.testing.assert_close(mask[0], expected)


def test_masked_gram_equals_the_gram_of_the_inside() -> None:
    features = torch.randn(1, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4, :] = 1
    inside = features[0, :, :2].flatten(1)
    expected = (inside @ inside.T).flatten()
    torch.testing.assert_close(masked_gram(features, mask)[0], expected / expected.norm())


def test_what_lies_outside_a_region_does_not_reach_its_description(pasted: Sample, encoder: EfficientNetGrams) -> None:
    assert pasted.annotation is not None
    inside = resize_labels(pasted.annotation.content_labels, (SIDE, SIDE)) == 1
    noisy = torch.where(inside, pasted.image, torch.rand(pasted.image.shape, generator=torch.Generator()))
    first, second = (masked_crop(image, pasted.annotation.content_labels, 1, 64) for image in (pasted.image, noisy))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_nothing_to_compare_with_is_an_error_in_words(pasted: Sample) -> None:
    assert pasted.annotation is not None
    one = torch.ones(4, 4, dtype=torch.int64)
    lonely = replace(
        pasted, references=pasted.references[:1], annotation=Annotation(one, [one], [match(1, 1, 1)]), features={}
    )
    with pytest.raises(ValueError, match="one region in all"):
        RegionalMargin(MeanColour(), STYLEGALLERY)([lonely])
    assert RegionalStyle(MeanColour(), STYLEGALLERY)([lonely])[0] <= 1
    for metric in (RegionalStyle(MeanColour(), STYLEGALLERY), RegionalMargin(MeanColour(), STYLEGALLERY)):
        with pytest.raises(ValueError, match="no annotation"):
            metric([replace(pasted, annotation=None)])


@pytest.mark.parametrize("path", sorted((CONF / "metric").glob("regional_*.yaml")), ids=lambda p: p.stem)
def test_configs_build_the_metric_they_are_named_after(path: Path) -> None:
    assert instantiate(OmegaConf.load(path)).name == path.stem


# --- annotations on disk ---


REQUEST = Request("item", 0, {"method": {"a": 1}}, {"content": Input("c.png", "00")}, {}, {}, "code")


def test_an_annotation_comes_back_as_it_was_written(pasted: Sample, tmp_path: Path) -> None:
    assert pasted.annotation is not None
    folder = tmp_path / "item"
    write_annotation(folder, pasted.annotation, REQUEST)
    again = read_annotation(folder)
    assert torch.equal(again.content_labels, pasted.annotation.content_labels)
    assert again.content_labels.dtype == torch.int64
    assert all(map(torch.equal, again.reference_labels, pasted.annotation.reference_labels))
    assert again.matches == pasted.annotation.matches
    assert annotation_digest(folder) == REQUEST.digest()
    assert sorted(path.name for path in folder.iterdir()) == [
        "annotation.json", "content.png", "matches.json", "reference_1.png", "reference_2.png",
    ]  # fmt: skip


def test_the_same_annotation_has_the_same_bytes(pasted: Sample, tmp_path: Path) -> None:
    assert pasted.annotation is not None
    for name in ("first", "second"):
        write_annotation(tmp_path / name, pasted.annotation, REQUEST)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_half_an_annotation_is_none(pasted: Sample, tmp_path: Path) -> None:
    assert pasted.annotation is not None
    assert annotation_digest(tmp_path) is None
    write_annotation(tmp_path, pasted.annotation, REQUEST)
    matches = json.loads((tmp_path / "matches.json").read_text())
    (tmp_path / "matches.json").write_text(json.dumps(matches[:2]))
    with pytest.raises(InputError, match="do not fit"):
        read_annotation(tmp_path)
    (tmp_path / "reference_2.png").unlink()
    with pytest.raises(InputError, match="reference_2"):
        read_annotation(tmp_path)
    (tmp_path / "annotation.json").write_text("{")
    assert annotation_digest(tmp_path) is None


def test_a_damaged_annotation_is_none(pasted: Sample, tmp_path: Path) -> None:
    """Otherwise it would count as there for ever."""
    assert pasted.annotation is not None
    write_annotation(tmp_path, pasted.annotation, REQUEST)
    whole = (tmp_path / "content.png").read_bytes()
    (tmp_path / "content.png").write_bytes(whole[: len(whole) // 2])
    assert annotation_digest(tmp_path) is None


@pytest.mark.slow
def test_one_item_that_cannot_be_annotated_does_not_keep_the_others(
    fake_config: Callable[..., DictConfig], gallery: Gallery, pasted: Sample, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def annotated(method: object, item: Item, generator: torch.Generator) -> Annotation:
        read_image(item.content)
        if item.id == "c2__set2":
            paint(gallery.references / "set2" / "r1.png", 77)
        assert pasted.annotation is not None
        return pasted.annotation

    freeze(tmp_path / "out", "plain", fake_config())
    (gallery.contents / "c1.png").write_bytes(b"damaged")
    monkeypatch.setattr(annotations, "build", lambda *_, **__: None)
    monkeypatch.setattr(annotations, "regions_and_matches", annotated)
    arguments = ["--annotator", "stylegallery", "model=embedded"]
    monkeypatch.setattr("sys.argv", ["annotations", str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit, match="1"):
        annotations.main()
    printed = "".join(capsys.readouterr().out.split())
    there = {path.parent.name for path in (tmp_path / "out" / "annotations" / "stylegallery").glob("*/annotation.json")}
    assert there == {f"c{c}__set{s}" for c in (0, 2, 3) for s in (1, 2, 3)} - {"c2__set2"}
    assert printed.count("failed:") == printed.count("isnotapicture") + printed.count("changedwhileitwasused") == 4


@pytest.mark.slow
def test_a_method_that_cannot_be_built_ends_the_annotations(
    fake_config: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        built.append(1)
        raise InputError("it cannot be built")

    built: list[int] = []
    freeze(tmp_path / "out", "plain", fake_config())
    monkeypatch.setattr(annotations, "build", broken)
    with pytest.raises(InputError, match="it cannot be built"):
        annotations.annotate_with_stylegallery(tmp_path / "out", ["model=embedded"], Console(quiet=True))
    assert len(built) == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(
    fake_config: Callable[..., DictConfig], tmp_path: Path, mounted: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = mounted("out", "size=4m")
    freeze(out, "plain", fake_config())
    subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
    monkeypatch.setattr("sys.argv", ["annotations", str(out), "model=embedded"])
    with pytest.raises(SystemExit, match="2"):
        annotations.main()
    assert capsys.readouterr().err == (
        f"error: {out} cannot be written (Read-only file system); make room or pass another out=\n"
    )


@pytest.mark.slow
def test_annotations_have_the_regions_and_matches_of_the_pipeline(built: object, pictures: Pictures) -> None:
    assert isinstance(built, StyleGallery)
    item = custom_item(str(pictures.content), [str(pictures.first), str(pictures.second)])
    annotation = regions_and_matches(built, item, torch.Generator().manual_seed(3))
    result = built.stylize(item, torch.Generator().manual_seed(3))
    assert torch.equal(annotation.content_labels, result.content_labels)
    assert all(map(torch.equal, annotation.reference_labels, result.reference_labels))
    assert annotation.matches == result.matches


@pytest.mark.slow
def test_annotations_are_made_without_the_masks_of_one_run(
    fake_config: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the same for all methods of a folder, whatever one of them was told about regions."""
    for label, masks in (("plain", "null"), ("user_masks", str(tmp_path))):
        freeze(tmp_path / "out", label, fake_config(f"data.masks={masks}"))
    masks_seen: list[Path | None] = []
    monkeypatch.setattr(annotations, "build", lambda *_, **__: None)
    monkeypatch.setattr(
        annotations, "regions_and_matches", lambda method, item, generator: masks_seen.append(item.mask)
    )
    monkeypatch.setattr(annotations, "write_annotation", lambda *_: None)
    annotations.annotate_with_stylegallery(tmp_path / "out", ["model=embedded"], Console(quiet=True))
    assert masks_seen == [None] * 12


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model=nope", "^model=nope does not exist; pass one of embedded, "),
        (
            "method.guidance.stepz=3",
            r"stepz is not a setting; did you mean method\.guidance\.steps\?",
        ),
        ("resolution=${nope}", r"^method\.resolution cannot be resolved \(Interpolation key 'nope' not found\)"),
    ],
)
def test_settings_that_do_not_exist_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, says: str
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "identity.yaml").touch()
    monkeypatch.setattr(
        annotations, "read_frozen", lambda _: {"data": {"manifest": "stylegallery60"}, "limit": 1, "method": {}}
    )
    monkeypatch.setattr(annotations, "load_items", lambda data: [])
    with pytest.raises(InputError, match=says):
        annotations.annotate_with_stylegallery(tmp_path, [override], Console(quiet=True))


@pytest.mark.slow
def test_annotations_find_the_pictures_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "identity.yaml").touch()
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(
        annotations, "read_frozen", lambda _: {"data": {"manifest": "stylegallery60"}, "limit": 1, "method": {}}
    )
    monkeypatch.setattr(annotations, "load_items", lambda data: seen.append(data) or [])
    annotations.annotate_with_stylegallery(tmp_path, ["data.root=/data/sg", "model=embedded"], Console(quiet=True))
    annotations.annotate_with_stylegallery(tmp_path, ["model=embedded"], Console(quiet=True))
    assert seen == [{"manifest": "stylegallery60", "root": "/data/sg"}, {"manifest": "stylegallery60"}]
