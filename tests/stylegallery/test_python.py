"""The lines of Python in README and docs run as they are printed, and what cannot work is refused in one sentence."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composing import ROOT, configured
from conftest import Pictures
from documented import blocks
from PIL import Image

import stylegallery
from stylegallery import memory
from stylegallery.contract import Item, MatchConstraints
from stylegallery.draws import item_generator
from stylegallery.errors import InputError
from stylegallery.files import notice
from stylegallery.images import to_pixels
from stylegallery.pipeline import StyleGallery


def printed(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the lines of Python on a page leave, run in a folder on a smaller size."""
    (block,) = blocks(ROOT / page, "python")
    fast = ("resolution=64", "method.segmentation.clusters=[3,4]", "method.guidance.iterations=1")
    small = block.replace("from_config()", f"from_config{fast}")
    assert small != block
    (folder / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(small, names)
    return names


@pytest.mark.slow
def test_the_lines_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each result without one of the references."""
    printed("docs/python.md", tmp_path, monkeypatch)
    pictures = []
    for number in (1, 2):
        with Image.open(tmp_path / f"without_{number}.png") as image:
            pictures.append(np.asarray(image))
    assert pictures[0].shape == pictures[1].shape and not np.array_equal(*pictures)


@pytest.mark.slow
def test_the_lines_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a smaller size than printed; what they save is what a method makes of an item with that pin."""
    names = printed("README.md", tmp_path, monkeypatch)
    assert len(blocks(ROOT / "README.md", "python")[0].splitlines()) <= 10
    references = [f"data/samples/style/{name}.jpg" for name in ("mosaic_bay", "ink_mountains")]
    item = Item("coffee", "data/samples/content/coffee.jpg", references, constraints=MatchConstraints({1: (2, 1)}))  # type: ignore[arg-type]
    expected = names["gallery"].stylize(item, item_generator(0, item))
    with Image.open(tmp_path / "coffee.png") as image:
        pixels = np.asarray(image)
    assert np.array_equal(pixels, to_pixels(expected.image)) and pixels.std() > 10
    assert names["plan"].matches == expected.matches and expected.matches[0].pinned
    with Image.open(tmp_path / "matches.png") as figure:
        assert min(figure.size) > 300


def test_an_import_loads_no_network() -> None:
    code = "import sys, stylegallery; print('torch' in sys.modules, 'diffusers' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert process.stdout == "False False\n"
    assert stylegallery.StyleGallery is StyleGallery
    with pytest.raises(AttributeError, match="nothing"):
        stylegallery.nothing  # noqa: B018


def test_paths_as_text(pictures: Pictures) -> None:
    item = Item("a", str(pictures.content), [str(pictures.first)], None, (None,))  # type: ignore[arg-type]
    assert (item.content, item.references, item.reference_masks) == (pictures.content, (pictures.first,), (None,))


@pytest.mark.parametrize("references", [(), [], "a.png", Path("a.png")])
def test_no_references(references: object) -> None:
    with pytest.raises(InputError, match=r"^references is a list of at least one path, not "):
        Item("a", Path("a.png"), references)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("constraints", "says"),
    [
        ({"pins": {1: 2}}, r"^MatchConstraints\(pins=\{1: 2\}.* is not understood; write pins=\{region: \(reference"),
        ({"pins": {"sky": (1, 1)}}, "'sky'.* is not understood"),
        ({"pins": {1: ("a.png", 1)}}, "'a.png'.* is not understood"),
        ({"forbidden": [(1, 2)]}, "is not understood"),
        ({"excluded": 1}, "is not understood"),
        ({"pins": {(0.5, 1.5): (1, 1)}}, "^the point 0.5,1.5 lies outside the picture"),
        ({"forbidden": [(1, 1, (float("nan"), 0))]}, "^the point nan,0 lies outside the picture"),
    ],
)
def test_constraints_that_are_written_otherwise(constraints: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        MatchConstraints(**constraints)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("resolution=8", "method.resolution is 8; it should be"),
        ("resolution=16", "resolution is at least 32, not 16"),
        ("model.path=nowhere/at-all", "nowhere/at-all"),
        ("methd=identity", r"^methd is not a setting; did you mean method\?"),
        ("preset/stylegallery@method=nope", "^preset/stylegallery=nope does not exist"),
        ("seed=3", "^seed= has no effect here; analyse takes pictures, masks and the seed, match pins$"),
        ("pins={1:[1,1]}", "^pins= has no effect here"),
        ("method=identity", r"^method= is stylegallery or a variant of it here, not baselines\.identity\.Identity$"),
    ],
)
def test_settings_from_python(override: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        StyleGallery.from_config(override)


@pytest.mark.slow
def test_a_size_that_no_memory_holds_is_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 x 32 cells of 256 px: 4 MiB of distances."""
    monkeypatch.setattr(memory, "memory_left", lambda: 4 * 2**20 - 1)
    says = (
        r"^the distances between all 1,024 cells of a picture need 0\.0 GiB of memory, and this machine has 0\.0 GiB "
    )
    with pytest.raises(InputError, match=says):
        StyleGallery.from_config("resolution=256")
    StyleGallery.from_config("resolution=256", "method.segmentation.clusters=[3,3]")  # nobody asks for them
    monkeypatch.setattr(memory, "memory_left", lambda: 4 * 2**20)
    StyleGallery.from_config("resolution=256")
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"need 4,096\.0 GiB of memory, and this machine has \S+ GiB left"):
        StyleGallery.from_config("resolution=8192")


@pytest.mark.slow
def test_settings_of_stable_diffusion_on_the_embedded_model(caplog: pytest.LogCaptureFixture) -> None:
    """The picture would be noise."""
    notice.cache_clear()
    model = StyleGallery.from_config().model
    assert caplog.messages == [] and not model.paints_from_noise
    configured(StyleGallery, model, lambda image: torch.zeros(1), resolution=256, resizing="keep")
    assert caplog.messages[-1] == (
        "this model cannot paint from noise: StyleGallery.from_config() has the settings it needs"
    )
