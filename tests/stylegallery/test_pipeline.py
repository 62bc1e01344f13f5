"""The stages one by one: an analysis is its picture's alone, a pin computes nothing anew, a run can be stopped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pictures, RunInside, paint
from PIL import Image
from torch import Tensor, nn

from stylegallery.contract import Cancelled, Item, MatchConstraints, Silent
from stylegallery.draws import item_generator
from stylegallery.errors import InputError
from stylegallery.figures import plan_figure
from stylegallery.images import save
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Analysis


@pytest.fixture
def gallery(built: object) -> StyleGallery:
    assert isinstance(built, StyleGallery)
    return built


def networks(gallery: StyleGallery) -> list[nn.Module]:
    return [gallery.model.unet, gallery.model.autoencoder, gallery.analyser.encoder]  # type: ignore[list-item]


@contextmanager
def calls(gallery: StyleGallery) -> Iterator[list[str]]:
    """Names of the networks that run inside the context, once a call."""
    found: list[str] = []
    modules = [module for network in networks(gallery) for module in network.modules()]
    hooks = [
        module.register_forward_pre_hook(lambda module, _: found.append(type(module).__name__)) for module in modules
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def same(first: Analysis, second: Analysis) -> bool:
    parts = ("image", "labels", "segmentation.latent", "segmentation.inverted")
    described = ("descriptors.statistics", "descriptors.semantics", "descriptors.circles")
    pairs = map(attrgetter(*parts, *described), (first, second))
    return all(np.array_equal(a, b) for a, b in zip(*pairs, strict=True))


def test_what_is_known_of_a_picture_is_its_own(gallery: StyleGallery, pictures: Pictures) -> None:
    """Whether it is a content or a reference, of this item or another: kept analyses can be used again."""
    alone = gallery.analyse(pictures.first, seed=3)
    for content, references in (
        (pictures.first, [pictures.second]),
        (pictures.second, [pictures.content, pictures.first]),
    ):
        item = Item("a", content, tuple(references))
        plan = gallery.plan(item, item_generator(3, item))
        (found,) = [analysis for analysis in plan.analyses if analysis.source == pictures.first]
        assert same(found, alone)


def test_of_many_references_those_that_are_matched_or_shown_are_asked_for(
    gallery: StyleGallery, pictures: Pictures
) -> None:
    """And of a picture that a point is in the region map."""
    content, first, second = map(gallery.analyse, pictures)
    asked: dict[str, set[int]] = {"image": set(), "segmentation": set()}

    def offered(number: int) -> Analysis:
        found = second if number in (7, 30) else first

        def get(name: str) -> Any:
            asked[name].add(number)
            return getattr(found, name)

        return replace(found, get_image=lambda: get("image"), get_segmentation=lambda: get("segmentation"))

    references = [offered(number) for number in range(1, 41)]
    plan = gallery.match(content, references, MatchConstraints({1: (30, 1)}, excluded=[1]))
    assert asked == {"image": set(), "segmentation": set()}
    matched = {match.reference for match in plan.matches}
    result = gallery.render(plan)
    assert 30 in matched and len(matched) < 6
    assert asked == {"image": set(result.shown()), "segmentation": matched}
    alone = gallery.render(plan.of_matched())
    assert torch.equal(result.image, alone.image) and result.energies == alone.energies
    for names in asked.values():
        names.clear()
    gallery.match(content, references, MatchConstraints({(0.5, 0.5): (20, (0.1, 0.1))}))
    assert asked == {"image": set(), "segmentation": {20}}


def test_a_path_an_image_and_an_array_are_one_picture(gallery: StyleGallery, pictures: Pictures) -> None:
    with Image.open(pictures.second) as image:
        array = np.asarray(image.convert("RGB"))
        found = [gallery.analyse(picture) for picture in (pictures.second, str(pictures.second), image, array)]
    assert all(same(found[0], other) for other in found[1:])


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((64, 64, 3)), r"^a picture given as an array is uint8 of shape \(height, width, 3\), not float64"),
        (np.zeros((64, 64, 2), dtype=np.uint8), r"not uint8 \(64, 64, 2\)"),
        (Image.new("RGB", (8, 64)), r"^the picture has 8x64 pixels"),
    ],
)
def test_pictures_of_another_form(gallery: StyleGallery, picture: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        gallery.analyse(picture)


def test_a_damaged_image_is_told_in_one_sentence(gallery: StyleGallery, tmp_path: Path) -> None:
    whole = paint(tmp_path / "whole.png", 1).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with Image.open(tmp_path / "half.png") as image, pytest.raises(InputError, match=r"^the picture is damaged"):
        gallery.analyse(image)


@pytest.mark.slow
def test_a_pin_changes_a_match_and_no_network_runs(gallery: StyleGallery, pictures: Pictures) -> None:
    with calls(gallery) as counted:
        content, *references = [gallery.analyse(picture) for picture in pictures]
    assert counted
    with calls(gallery) as counted:
        free = gallery.match(content, references)
        taken = free.matches[0]
        other = (3 - taken.reference, 1)
        pinned = gallery.match(content, references, MatchConstraints({1: other}))
        other_than_taken = gallery.match(
            content, references, MatchConstraints(forbidden=[(1, taken.reference, taken.reference_region)])
        )
    assert counted == []
    assert (pinned.matches[0].reference, pinned.matches[0].reference_region, pinned.matches[0].pinned) == (*other, True)
    assert pinned.matches[1:] == free.matches[1:]
    assert other_than_taken.matches[0] != taken and other_than_taken.matches[1:] == free.matches[1:]
    assert not torch.equal(gallery.render(pinned).image, gallery.render(free).image)


@pytest.mark.parametrize("assignment", ["best", "random"])
@pytest.mark.slow
def test_the_stages_give_the_pixels_of_the_command_line(
    assignment: str, run_inside: RunInside, small: tuple[str, ...], pictures: Pictures, tmp_path: Path
) -> None:
    options = (f"method.matching.assignment={assignment}", "output_size=content")
    run_inside(*pictures.overrides(), *options, "pins={1:[2,1]}", "excluded=[1]", "seed=5", f"out={tmp_path / 'out'}")
    gallery = StyleGallery.from_config(*small, *options)
    content, *references = [gallery.analyse(picture, seed=5) for picture in pictures]
    result = gallery.render(gallery.match(content, references, MatchConstraints({1: (2, 1)}, excluded=[1])))
    save(result.image, tmp_path / "stages.png")
    with Image.open(tmp_path / "out" / "stylised.png") as expected, Image.open(tmp_path / "stages.png") as found:
        assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert list(result.seconds) == ["guidance", "detail"] and result.peak_memory_mib > 0


def test_the_seed_and_the_pictures_decide_random_matches(
    gallery: StyleGallery, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures in whatever form they are given."""
    monkeypatch.setattr(gallery, "matching", replace(gallery.matching, assignment="random"))
    content, *references = [gallery.analyse(picture) for picture in pictures]

    def drawn(content: Analysis, references: list[Analysis]) -> tuple[tuple[int, int], ...]:
        matches = gallery.match(content, references).matches
        return tuple((match.reference, match.reference_region) for match in matches)

    with Image.open(pictures.content) as image:
        assert drawn(replace(content, source=image.copy()), references) == drawn(content, references)
    draw = np.random.default_rng(0)
    others = [draw.integers(0, 256, (64, 80, 3), dtype=np.uint8) for _ in range(6)]
    assert len({drawn(replace(content, source=other), references) for other in others}) > 1
    seeded = [[replace(one, run_seed=seed) for one in (content, *references)] for seed in range(6)]
    assert len({drawn(first, rest) for first, *rest in seeded}) > 1


def test_what_cannot_be_matched(gallery: StyleGallery, pictures: Pictures) -> None:
    content, first = gallery.analyse(pictures.content), gallery.analyse(pictures.first, seed=1)
    with pytest.raises(
        InputError, match=r"^these pictures were analysed with the seeds \[0, 1\]; analyse all with one"
    ):
        gallery.match(content, [first])
    with pytest.raises(InputError, match=r"^references is empty; match with at least one analysis"):
        gallery.match(content, [])


def test_a_mask_that_cannot_be_used_is_told_before_anything_is_computed(
    gallery: StyleGallery, pictures: Pictures, tmp_path: Path
) -> None:
    item = Item("a", pictures.content, (pictures.first,), reference_masks=(tmp_path / "none.png",))
    with calls(gallery) as counted, pytest.raises(InputError, match=r"none\.png is missing"):
        gallery.stylize(item, torch.Generator())
    assert counted == []


class Told(Silent):
    """Writes down what it is told, and stops a method at a step of a stage."""

    def __init__(self, stop_at: str = "", after: int = 1) -> None:
        self.stop_at, self.after, self.steps = stop_at, after, dict[str, int]()
        self.totals, self.energies, self.pictures = dict[str, int](), list[Any](), list[Callable[[], Tensor]]()

    def stage(self, name: str, steps: int) -> Any:
        self.totals[name], self.steps[name] = steps, 0

        def advance(energy: Any = None, picture: Any = None) -> None:
            self.steps[name] += 1
            self.energies += [energy] if energy else []
            self.pictures += [picture] if picture else []
            if name == self.stop_at and self.steps[name] == self.after:
                raise Cancelled

        return advance


def test_progress_is_told_of_every_step(gallery: StyleGallery, pictures: Pictures) -> None:
    item, told = Item("a", pictures.content, (pictures.first, pictures.second)), Told()
    result = gallery.stylize(item, item_generator(0, item), told)
    assert told.steps == told.totals == {"1 regions": 6, "2 matches": 1, "3 energy": 2}
    assert told.energies == result.energies
    first, last = (picture().cpu() for picture in told.pictures)  # decoded when all is over
    assert torch.equal(last, result.image) and not torch.equal(first, last)
    assert list(result.seconds) == ["segmentation", "matching", "guidance"]


@pytest.mark.parametrize(("stage", "after"), [("1 regions", 3), ("2 matches", 1), ("3 energy", 1)])
@pytest.mark.slow
def test_a_method_stops_where_it_is_told_to_and_the_model_is_as_before(
    stage: str, after: int, gallery: StyleGallery, pictures: Pictures
) -> None:
    item = Item("a", pictures.content, (pictures.first, pictures.second))
    expected, told = gallery.stylize(item, item_generator(0, item)).image, Told(stage, after)
    processors, mode = dict(gallery.model.unet.attn_processors), torch.get_deterministic_debug_mode()
    with pytest.raises(Cancelled) as caught:  # as long as it is kept, so are the frames of the stages
        gallery.stylize(item, item_generator(0, item), told)
    assert caught.value is not None and told.steps[stage] == after
    assert gallery.model.unet.attn_processors == processors
    assert [module for network in networks(gallery) for module in network.modules() if module._forward_hooks] == []
    assert torch.get_deterministic_debug_mode() == mode
    assert torch.equal(gallery.stylize(item, item_generator(0, item)).image, expected)


@pytest.mark.parametrize("stage", ["1 regions", "3 energy"])
def test_a_stopped_run_leaves_no_result(
    stage: str, run_built: RunInside, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(stage)
    monkeypatch.setattr("stylegallery.progress.Bars.stage", lambda _, name, steps: told.stage(name, steps))
    with pytest.raises(Cancelled):
        run_built(*pictures.overrides(), f"out={tmp_path / 'out'}")
    assert [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".png", ".json", ".csv")] == []


def test_a_plan_shows_itself(gallery: StyleGallery, pictures: Pictures) -> None:
    content, *references = [gallery.analyse(picture) for picture in pictures]
    plan = gallery.match(content, references, MatchConstraints(excluded=[1]))
    assert [axes.get_title() for axes in plan_figure(plan).axes] == ["content", "reference 2"]
    shown = plan.with_image(1 - content.image)
    assert torch.equal(shown.content, content.image) and torch.equal(shown.image, 1 - content.image)


@pytest.mark.slow
def test_items_done_together_are_those_done_alone_up_to_rounding(
    gallery: StyleGallery, pictures: Pictures, tmp_path: Path
) -> None:
    """Two share the network's calls; the third, of another shape, has its own."""
    contents = [pictures.first, pictures.content, paint(tmp_path / "square.png", 8)]
    items = [Item(f"item {i}", content, (pictures.second,)) for i, content in enumerate(contents)]
    together = gallery.stylize_together(items, [item_generator(0, item) for item in items])
    for item, result in zip(items, together, strict=True):
        alone = gallery.stylize(item, item_generator(0, item))
        assert result.matches == alone.matches and torch.equal(result.content, alone.content)
        assert result.image.shape == alone.image.shape
        assert (result.image - alone.image).abs().mean() < 1 / 255
        assert result.seconds.keys() == alone.seconds.keys()
    assert together[0].seconds["guidance"] == together[2].seconds["guidance"] != together[1].seconds["guidance"]
