"""Masks from files: which label a painted pixel becomes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from colour_profiles import grey_profile
from conftest import Pictures, read_mask
from hydra.utils import instantiate
from odd_pictures import BROKEN, write_tiff
from omegaconf import DictConfig
from PIL import Image
from published_vectors import VECTORS
from safetensors.torch import load_file
from torch import Tensor

from stylegallery.errors import InputError
from stylegallery.region_pictures import write_indexed_png
from stylegallery.regions import (
    MOST_REGIONS,
    mask_on_grid,
    override,
    read_published_mask,
    region_count,
    resize_labels,
)

BARS = np.repeat(np.array([[0, 10, 10, 200]], dtype=np.uint8), 3, axis=0)  # three grey values, 3 x 4


def read(path: Path, image: Image.Image, **options: object) -> list[list[int]]:
    image.save(path, **options)
    return read_mask(path).tolist()


def test_grey_values_become_labels_in_ascending_order(tmp_path: Path) -> None:
    assert read(tmp_path / "a.png", Image.fromarray(BARS)) == [[0, 1, 1, 2]] * 3


def test_sixteen_bit_grey(tmp_path: Path) -> None:
    assert read(tmp_path / "a.png", Image.fromarray(BARS.astype(np.uint16) * 256)) == [[0, 1, 1, 2]] * 3


def test_black_and_white(tmp_path: Path) -> None:
    assert read(tmp_path / "a.png", Image.fromarray(BARS > 100)) == [[0, 0, 0, 1]] * 3


def test_palette_indices_count_not_their_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 3, 1]], dtype=np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9, 0, 0, 0])  # 1 and 3 share a colour and it is black
    assert read(tmp_path / "a.png", image) == [[0, 2, 1]]


@pytest.mark.parametrize(("transparent", "expected"), [(0, [0, 2, 1]), (2, [0, 0, 1]), (b"\xff\x7f\x80", [0, 1, 0])])
def test_palette_with_transparency(tmp_path: Path, transparent: int | bytes, expected: list[int]) -> None:
    image = Image.fromarray(np.array([[0, 2, 1]], dtype=np.uint8))
    image.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert read(tmp_path / "a.png", image, transparency=transparent) == [expected]


def test_transparent_colours_are_background(tmp_path: Path) -> None:
    """A painting program leaves white, or what was there, below the alpha of what is not painted."""
    white, red = (255, 255, 255), (255, 0, 0)
    pixels = [[(*white, 0), (*red, 255), (*red, 128), (*white, 255), (*red, 127)]]
    image = Image.fromarray(np.array(pixels, dtype=np.uint8), "RGBA")
    assert read(tmp_path / "a.png", image) == read(tmp_path / "a.tif", image) == [[0, 1, 1, 2, 0]]
    assert read(tmp_path / "b.png", image.convert("RGB"), transparency=white) == [[0, 1, 1, 0, 1]]


def test_transparent_greys_are_background(tmp_path: Path) -> None:
    pixels = np.array([[(200, 255), (10, 255), (90, 0), (0, 255)]], dtype=np.uint8)
    assert read(tmp_path / "a.png", Image.fromarray(pixels, "LA")) == [[2, 1, 0, 0]]
    assert read(tmp_path / "b.png", Image.fromarray(pixels[..., 0]), transparency=90) == [[2, 1, 0, 0]]
    wide = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
    assert read(tmp_path / "c.png", wide, transparency=90 * 256) == [[2, 1, 0, 0]]
    with pytest.raises(InputError, match="is all background"):
        read(tmp_path / "d.png", Image.fromarray(np.array([[False, True]])), transparency=255)


@pytest.mark.parametrize("kind", ["uint16", ">u2", "int16", "uint32", "int32", ">i4", "float32"])
def test_labels_of_any_type_of_number(tmp_path: Path, kind: str) -> None:
    """Label maps of scientific programs; -1 is their word for nothing."""
    values = np.array([[0, 3, 700, -1 if np.dtype(kind).kind != "u" else 0]]).astype(kind)
    write_tiff(tmp_path / "a.tif", values)
    assert read_mask(tmp_path / "a.tif").tolist() == [[0, 1, 2, 0]]


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    for value in (0.5, np.nan):
        write_tiff(tmp_path / "a.tif", np.full((4, 4), value, dtype=np.float32))
        with pytest.raises(InputError, match=r"mask .*a\.tif holds values that are no whole numbers; save it as an 8"):
            read_mask(tmp_path / "a.tif")


def test_colours_of_other_models(tmp_path: Path) -> None:
    for mode, first, second in (("CMYK", (0, 0, 0, 0), (0, 255, 255, 0)), ("LAB", (255, 128, 128), (128, 200, 128))):
        image = Image.new(mode, (2, 1), first)
        image.putpixel((1, 0), second)
        assert read(tmp_path / "a.tif", image) == [[1, 2]]


def test_a_profile_does_not_change_labels(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[(1, 0, 0), (2, 0, 0), (0, 0, 0)]], dtype=np.uint8))
    assert read(tmp_path / "a.png", image, icc_profile=grey_profile(1.0)) == [[1, 2, 0]]


def test_colours_are_numbered_by_first_appearance(tmp_path: Path) -> None:
    red, blue, black = (255, 0, 0), (0, 0, 255), (0, 0, 0)
    pixels = np.array([[black, red, red], [blue, black, red]], dtype=np.uint8)
    assert read(tmp_path / "a.png", Image.fromarray(pixels)) == [[0, 1, 1], [2, 0, 1]]
    assert read(tmp_path / "b.png", Image.fromarray(pixels[::-1].copy())) == [[1, 0, 2], [0, 2, 2]]


def test_colours_without_black_have_no_background(tmp_path: Path) -> None:
    pixels = np.array([[(255, 255, 255), (9, 9, 9)]], dtype=np.uint8)
    assert read(tmp_path / "a.png", Image.fromarray(pixels)) == [[1, 2]]


def test_one_pixel_mask_covers_everything(tmp_path: Path) -> None:
    mask = torch.tensor(read(tmp_path / "a.png", Image.new("L", (1, 1), 5)))
    assert resize_labels(mask, (3, 2)).tolist() == [[1, 1]] * 3


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    """A mask painted over a photo and saved with the photo's EXIF lies as the photo lies."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.png", "a.tif", "a.webp"):
        image = Image.fromarray(BARS if name != "a.webp" else np.stack([BARS] * 3, axis=-1))
        options = {"lossless": True} if name == "a.webp" else {}
        assert read(tmp_path / name, image, exif=exif, **options) == [[0] * 3, [1] * 3, [1] * 3, [2] * 3]


def test_all_background(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "P", "1"):
        Image.new(mode, (40, 40)).save(tmp_path / "a.png")
        with pytest.raises(InputError, match=r"mask .*a\.png is all background; paint at least one region"):
            read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("colour", [False, True])
def test_sixty_four_labels_and_no_more(tmp_path: Path, colour: bool) -> None:
    values = np.arange(66, dtype=np.uint8)[None]
    for count in (64, 65):
        pixels = values[:, : count + 1]
        image = Image.fromarray(np.stack([pixels, pixels * 0, pixels], axis=-1) if colour else pixels)
        image.save(tmp_path / f"{count}.png")
    assert region_count(read_mask(tmp_path / "64.png")) == 64
    with pytest.raises(InputError, match=r"mask .*65\.png has 65 labels, more than 64; save it as PNG without antial"):
        read_mask(tmp_path / "65.png")


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_mask_is_named(tmp_path: Path, kind: str) -> None:
    name, make, says = BROKEN[kind]
    make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_mask(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert says in str(caught.value)


def test_other_size_is_resized_to_the_nearest_cell(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8)).save(tmp_path / "a.png")
    enlarged = resize_labels(read_mask(tmp_path / "a.png"), (4, 5))
    assert enlarged.tolist() == [[0, 0, 0, 1, 1]] * 2 + [[2, 2, 2, 3, 3]] * 2
    large = np.repeat(np.repeat(enlarged.numpy(), 7, axis=0), 3, axis=1).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "b.png")
    assert torch.equal(resize_labels(read_mask(tmp_path / "b.png"), (4, 5)), enlarged)


# --- on the latent grid ---


def speckled(path: Path) -> Path:
    """16 x 16 with region 1 in one pixel that no cell of a coarse grid reads, and region 2 in a quarter."""
    pixels = np.zeros((16, 16), dtype=np.uint8)
    pixels[0, 1], pixels[8:, 8:] = 5, 9
    Image.fromarray(pixels).save(path)
    return path


def test_region_that_vanishes_on_the_grid_is_named(tmp_path: Path) -> None:
    path = speckled(tmp_path / "a.png")
    assert mask_on_grid(path, [(16, 16)], (16, 16)).unique().tolist() == [0, 1, 2]
    with pytest.raises(InputError) as caught:
        mask_on_grid(path, [(64, 64)], (8, 8))
    assert str(caught.value) == (
        f"index 5 of mask {path} covers no cell of the 8x8 latent grid, where a cell is 2x2 mask pixels; "
        "paint it larger or remove it"
    )


def test_every_region_that_vanishes_is_named_as_the_file_names_it(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[8:] = (0, 0, 7)
    pixels[0, 1], pixels[3, 3] = (255, 0, 0), (0, 160, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"^colour #ff0000, colour #00a000 of mask .*a\.png covers no cell of the 4x8"):
        mask_on_grid(tmp_path / "a.png", [(16, 16)], (8, 4))


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (64, 48), (1280, 960), (321, 240), (4, 3)])
def test_mask_of_another_size_with_the_same_aspect(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size, 3).save(tmp_path / "a.png")
    assert mask_on_grid(tmp_path / "a.png", [(480, 640)], (6, 8)).tolist() == [[1] * 8] * 6


@pytest.mark.parametrize("size", [(480, 640), (640, 640), (640, 500), (600, 480)])
def test_mask_of_another_aspect_belongs_to_another_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size, 3).save(tmp_path / "a.png")
    with pytest.raises(InputError) as caught:
        mask_on_grid(tmp_path / "a.png", [(480, 640)], (6, 8))
    assert str(caught.value) == (
        f"mask {tmp_path / 'a.png'} has {size[0]}x{size[1]} pixels and its picture 640x480; a mask may have another "
        "size but not another aspect, check that it belongs to this picture"
    )


def test_mask_painted_on_the_square_that_the_model_sees(tmp_path: Path) -> None:
    """With resizing=square a picture of 640 x 480 reaches the model as 512 x 512: both shapes are its own."""
    pixels = np.zeros((512, 512), dtype=np.uint8)
    pixels[:, 256:] = 1
    Image.fromarray(pixels).save(tmp_path / "square.png")
    Image.fromarray(pixels[:480]).resize((640, 480), Image.Resampling.NEAREST).save(tmp_path / "wide.png")
    sizes = [(480, 640), (512, 512)]
    square, wide = (mask_on_grid(tmp_path / f"{name}.png", sizes, (64, 64)) for name in ("square", "wide"))
    assert torch.equal(square, wide) and square[:, 32:].all() and not square[:, :32].any()


# --- labelme ---


def write_labelme(path: Path, *shapes: dict[str, object], size: tuple[int, int] = (40, 30)) -> Path:
    header = {"version": "5.5.0", "flags": {}, "imagePath": "photo.jpg", "imageData": None}
    path.write_text(json.dumps(header | {"shapes": shapes, "imageWidth": size[0], "imageHeight": size[1]}))
    return path


def box(label: str, left: int, top: int, right: int, bottom: int, kind: str = "polygon") -> dict[str, object]:
    """A shape as labelme writes it, with the corners of a box, both inclusive."""
    points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "shape_type": kind, "group_id": None, "flags": {}, "points": points[:: 1 if kind ==
            "polygon" else 2]}  # fmt: skip


def test_labelme_polygons_one_region_per_label_in_alphabetical_order(tmp_path: Path) -> None:
    path = write_labelme(
        tmp_path / "a.json", box("tree", 0, 0, 9, 9), box("cat", 20, 5, 29, 14), box("tree", 30, 20, 39, 29)
    )
    expected = torch.zeros(30, 40, dtype=torch.int64)
    expected[5:15, 20:30] = 1
    expected[:10, :10] = expected[20:, 30:] = 2
    assert torch.equal(read_mask(path), expected)


def test_labelme_shapes_cover_in_their_order_and_background_cuts_holes(tmp_path: Path) -> None:
    path = write_labelme(
        tmp_path / "a.json",
        box("b", 0, 0, 39, 29, "rectangle"), box("a", 10, 0, 19, 29, "rectangle"), box("_background_", 0, 0, 39, 9),
    )  # fmt: skip
    row = [2] * 10 + [1] * 10 + [2] * 20
    assert read_mask(path).tolist() == [[0] * 40] * 10 + [row] * 20


def test_labelme_circle(tmp_path: Path) -> None:
    circle = {"label": "sun", "shape_type": "circle", "points": [[20, 15], [26, 23]]}  # radius 10
    labels = read_mask(write_labelme(tmp_path / "a.json", circle))
    assert int(labels.sum()) == pytest.approx(np.pi * 10.5**2, rel=0.02)  # both ends of a diameter are inside
    assert labels[15, 10] == labels[5, 20] == 1 and labels[3, 20] == labels[15, 32] == 0


def test_labelme_json_is_the_same_mask_as_the_label_png_it_exports(tmp_path: Path) -> None:
    """labelme's export: a palette picture whose index is the place of the label in the alphabet."""
    path = write_labelme(tmp_path / "a.json", box("sky", 0, 0, 39, 9), box("house", 10, 10, 24, 29))
    index = np.zeros((30, 40), dtype=np.uint8)
    index[:10], index[10:, 10:25] = 2, 1
    exported = Image.fromarray(index)
    exported.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, *[0] * 759])
    (tmp_path / "a_json").mkdir()
    exported.save(tmp_path / "a_json" / "label.png")
    assert torch.equal(read_mask(path), read_mask(tmp_path / "a_json" / "label.png"))


def test_labelme_region_that_vanishes_is_named_by_its_label(tmp_path: Path) -> None:
    path = write_labelme(tmp_path / "a.json", box("lake", 0, 0, 39, 14), box("duck", 21, 21, 22, 22))
    with pytest.raises(InputError, match=r"^label duck of mask .*a\.json covers no cell of the 4x3 latent grid"):
        mask_on_grid(path, [(30, 40)], (3, 4))


def test_labelme_without_shapes_is_all_background(tmp_path: Path) -> None:
    for shapes in ([], [box("_background_", 0, 0, 5, 5)]):
        with pytest.raises(InputError, match="is all background"):
            read_mask(write_labelme(tmp_path / "a.json", *shapes))


@pytest.mark.parametrize(
    "kind,points", [("line", [[0, 0], [5, 5]]), ("point", [[1, 1]]), ("polygon", [[0, 0], [5, 5]])]
)
def test_labelme_shape_without_an_area(tmp_path: Path, kind: str, points: list[list[int]]) -> None:
    path = write_labelme(tmp_path / "a.json", {"label": "x", "shape_type": kind, "points": points})
    with pytest.raises(InputError, match=f"has a {kind} of {len(points)} points for x; draw regions as polygons"):
        read_mask(path)


@pytest.mark.parametrize(
    "text",
    ["[]", '{"shapes": []}', '{"shapes": 3, "imageWidth": 4, "imageHeight": 4}',
     '{"shapes": [], "imageWidth": null, "imageHeight": 4}',
     '{"shapes": [], "imageWidth": 90000, "imageHeight": 90000}',
     '{"shapes": [{"label": "a", "points": [[0, 0], [1, NaN], [1, 1]]}], "imageWidth": 4, "imageHeight": 4}',
     '{"shapes": [{"label": "a", "points": [0, 1, 2]}], "imageWidth": 4, "imageHeight": 4}'],
)  # fmt: skip
def test_json_that_is_not_labelme(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json is not a labelme file .*; export it again"):
        read_mask(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"imageWidth": 1e400}, "OverflowError"),
        ({"imageWidth": 20000, "imageHeight": 20000}, "imageWidth and imageHeight are 20000 and 20000"),
        ({"shapes": [box("a", 0, 0, 9, 9)] * 10_001}, "10001 shapes, more than 10000"),
        ({"shapes": [{"label": "a", "shape_type": "circle", "points": [[5, 5], [1e12, 5]]}]}, "far outside"),
        ({"shapes": [{"label": "a", "points": [[5, 5], [-1e300, 5], [10**400, 7]]}]}, "OverflowError"),
        ({"shapes": {"a": 1}}, "TypeError"),
    ],
)
def test_labelme_that_would_take_hours_or_memory(tmp_path: Path, change: dict[str, object], says: str) -> None:
    header = {"shapes": [], "imageWidth": 40, "imageHeight": 30}
    (tmp_path / "a.json").write_text(json.dumps(header | change))
    with pytest.raises(InputError, match=rf"a\.json is not a labelme file \(.*{says}.*\); export it again"):
        read_mask(tmp_path / "a.json")


def test_labelme_of_too_many_labels_is_refused_before_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_labelme(tmp_path / "a.json", *[box(str(number), 0, 0, 9, 9) for number in range(65)])
    monkeypatch.setattr(Image, "new", lambda *_: pytest.fail("drawn"))
    with pytest.raises(InputError, match=r"a\.json has 65 labels, more than 64"):
        read_mask(path)


def test_memory_of_a_mask_is_that_of_its_pixels(tmp_path: Path, peak_memory: Callable[[], int]) -> None:
    """Of 25 million pixels: some bytes each, where numbering the labels with their places took 48."""
    path = write_labelme(tmp_path / "a.json", box("a", 0, 0, 9, 9), size=(5000, 5000))
    before = peak_memory()
    labels = mask_on_grid(path, [(5000, 5000)], (1000, 1000))
    assert peak_memory() - before < 6 * 25e6
    assert labels.dtype == torch.int64


# --- the published conversion ---


PUBLISHED = load_file(VECTORS / "case03e_convert_mask_to_array.safetensors")


@pytest.mark.parametrize(
    "scenario", ["black_not_first", "vanishing_colours", "no_black", "all_black", "black_first", "gray"]
)
def test_published_conversion(scenario: str) -> None:
    labels = read_published_mask(VECTORS / f"case03e_{scenario}.png")
    assert labels.dtype == torch.int64
    assert torch.equal(labels, PUBLISHED[f"{scenario}/out"].long())


def test_published_conversion_wants_512_pixels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wrong_size\.png has 256x256 pixels; the published code wants 512x512"):
        read_published_mask(VECTORS / "case03e_wrong_size.png")
    Image.new("RGB", (512, 511)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="has 512x511 pixels"):
        read_published_mask(tmp_path / "a.png")


def paint_colours(path: Path, seed: int, count: int) -> Path:
    """512 x 512 of 64 random blocks in random colours, one of them black."""
    draw = np.random.default_rng(seed)
    colours = draw.integers(1, 256, (count, 3), dtype=np.uint8)
    colours[draw.integers(count)] = 0
    blocks = np.concatenate([np.arange(count), draw.integers(0, count, 64 - count)])
    draw.shuffle(blocks)
    pixels = np.kron(blocks.reshape(8, 8), np.ones((64, 64), dtype=np.int64))
    Image.fromarray(colours[pixels]).save(path)
    return path


@pytest.mark.parametrize("seed", range(4))
def test_black_takes_a_number_in_the_published_conversion_and_none_in_ours(tmp_path: Path, seed: int) -> None:
    path = paint_colours(tmp_path / "a.png", seed, 6)
    ours, published = mask_on_grid(path, [(512, 512)], (64, 64)), read_published_mask(path)
    present = published.unique().tolist()
    (gap,) = set(range(7)) - set(present)
    assert (present[0], len(present), ours.unique().tolist()) == (0, 6, [0, 1, 2, 3, 4, 5])
    assert torch.equal(ours, torch.where(published > gap, published - 1, published))


@pytest.mark.parametrize("seed", range(4))
def test_both_conversions_make_the_same_regions_of_a_colour_mask(tmp_path: Path, seed: int) -> None:
    path = paint_colours(tmp_path / "a.png", seed, 9)
    automatic = torch.randint(1, 5, (64, 64), generator=torch.Generator().manual_seed(seed))
    ours, published = mask_on_grid(path, [(512, 512)], (64, 64)), read_published_mask(path)
    assert torch.equal(override(automatic, ours), override(automatic, published))


def test_a_vanishing_colour_is_a_gap_in_the_published_conversion_and_an_error_in_ours() -> None:
    path = VECTORS / "case03e_vanishing_colours.png"
    assert read_published_mask(path).unique().tolist() == [0, 1, 2, 5, 6]
    with pytest.raises(InputError, match=r"vanishing_colours\.png covers no cell of the 64x64 latent grid"):
        mask_on_grid(path, [(512, 512)], (64, 64))


def test_the_published_conversion_allows_a_mask_without_regions() -> None:
    automatic = torch.tensor([[1, 2], [3, 1]])
    black = VECTORS / "case03e_all_black.png"
    assert torch.equal(override(automatic, resize_labels(read_published_mask(black), (2, 2))), automatic)
    with pytest.raises(InputError, match="is all background"):
        read_mask(black)


@pytest.mark.slow
@pytest.mark.parametrize("method,error", [("stylegallery", None), ("stylegallery_released", "wants 512x512")])
def test_only_the_released_variant_wants_512_pixels(
    composed: Callable[..., DictConfig], pictures: Pictures, tmp_path: Path, method: str, error: str | None
) -> None:
    built = instantiate(composed(f"method={method}").method, _convert_="all")
    Image.new("L", (40, 32), 1).save(tmp_path / "mask.png")  # of a content picture of 80 x 64
    if error:
        with pytest.raises(InputError, match=error):
            built.analyser.read(pictures.content, tmp_path / "mask.png", 0)
    else:
        given = built.analyser.read(pictures.content, tmp_path / "mask.png", 0)
        assert given.image.shape == (1, 3, 56, 72) and given.labels.tolist() == [[1] * 9] * 7


# --- there and back ---


def test_written_region_map_can_be_passed_as_mask(tmp_path: Path) -> None:
    labels: Tensor = torch.randint(1, 12, (5, 7), generator=torch.Generator().manual_seed(0))
    labels[0, :] = torch.arange(5, 12)
    labels[1, :] = torch.arange(7)
    write_indexed_png(tmp_path / "a.png", labels, (40, 56))
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.size) == ("P", (56, 40))
        assert np.array_equal(np.asarray(image)[::8, ::8], labels.numpy())
    back = read_mask(tmp_path / "a.png")
    assert back.shape == (40, 56)
    assert torch.equal(resize_labels(back, (5, 7)), labels)


def test_a_region_map_holds_as_many_regions_as_there_may_be(tmp_path: Path) -> None:
    labels = torch.arange(1, MOST_REGIONS + 1).view(15, 17)
    write_indexed_png(tmp_path / "a.png", labels, (15, 17))
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), labels.numpy())
