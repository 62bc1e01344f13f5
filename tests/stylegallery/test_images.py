"""Pictures from files: every kind of file a user has, and every way a file can be broken."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from colour_profiles import ADOBE_RGB, DISPLAY_P3, cmyk_profile, gamma, grey_profile, rgb_profile, srgb_curve
from conftest import paint
from odd_pictures import BROKEN_PICTURES, claim_size, write_tiff
from PIL import EpsImagePlugin, Image, PngImagePlugin, __version__

from stylegallery.decoding import open_image
from stylegallery.errors import InputError
from stylegallery.files import notice
from stylegallery.images import read_image, resize, to_pixels, write_png
from stylegallery.picture_files import FORMATS, SUFFIXES, list_images

BEFORE_13 = int(__version__.partition(".")[0]) < 13  # as Gradio, and so the studio, still wants it
NOISE = np.random.default_rng(0).integers(0, 256, (40, 48), dtype=np.uint8)


def at(image: torch.Tensor, row: int, column: int) -> list[float]:
    return image[0, :, row, column].tolist()


# --- kinds of files ---


def test_rgb_values_and_orientation(tmp_path: Path) -> None:
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[5, 7] = (255, 51, 102)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (1, 3, 32, 48)
    assert image.dtype == torch.float32
    assert at(image, 5, 7) == pytest.approx([1.0, 0.2, 0.4])
    assert image.sum().item() == pytest.approx(1.6)


def test_greyscale_equals_rgb_of_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([NOISE] * 3, axis=-1)).save(tmp_path / "rgb.png")
    grey, rgb = read_image(tmp_path / "grey.png"), read_image(tmp_path / "rgb.png")
    assert grey.shape == (1, 3, 40, 48)
    assert torch.equal(grey, rgb)
    assert at(grey, 3, 4) == pytest.approx([NOISE[3, 4] / 255] * 3)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 4), dtype=np.uint8)
    pixels[..., 0] = 255
    pixels[0, 0, 3], pixels[0, 1, 3], pixels[0, 2, 3] = 255, 51, 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert at(image, 0, 0) == [1, 0, 0]
    assert at(image, 0, 1) == pytest.approx([1, 0.8, 0.8], abs=1 / 255)
    assert at(image, 0, 2) == [1, 1, 1]


def test_grey_with_alpha(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 2), dtype=np.uint8)
    pixels[0, 0] = (0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert at(image, 0, 0) == [0, 0, 0]
    assert at(image, 0, 1) == [1, 1, 1]


def test_palette_with_transparency(tmp_path: Path) -> None:
    indices = np.zeros((32, 32), dtype=np.uint8)
    indices[0, 0], indices[0, 1] = 1, 2
    image = Image.fromarray(indices)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=0)
    result = read_image(tmp_path / "a.png")
    assert at(result, 0, 0) == [1, 0, 0]
    assert at(result, 0, 1) == [0, 0, 1]
    assert at(result, 5, 5) == [1, 1, 1]


def test_sixteen_bit_png_is_scaled(tmp_path: Path) -> None:
    values = np.zeros((32, 32), dtype=np.uint16)
    values[0, 0], values[0, 1] = 65535, 13107
    Image.fromarray(values).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.mode == "I;16"
    image = read_image(tmp_path / "a.png")
    assert at(image, 0, 0) == [1, 1, 1]
    assert at(image, 0, 1) == pytest.approx([0.2, 0.2, 0.2])
    assert at(image, 9, 9) == [0, 0, 0]


@pytest.mark.parametrize(("largest", "scale"), [(0.5, 1.0), (8.0, 8.0)])
def test_float_tiff_is_scaled_when_above_one(tmp_path: Path, largest: float, scale: float) -> None:
    values = np.full((32, 32), 0.25, dtype=np.float32)
    values[0, 0] = largest
    Image.fromarray(values).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    assert at(image, 0, 0) == pytest.approx([largest / scale] * 3)
    assert at(image, 1, 1) == pytest.approx([0.25 / scale] * 3)


@pytest.mark.parametrize(
    ("kind", "white"), [("uint16", 2**16), ("int16", 2**15), ("uint32", 2**32), ("int32", 2**31), (">u2", 2**16),
                        (">i2", 2**15), (">i4", 2**31)],
)  # fmt: skip
def test_whole_numbers_of_a_tiff_are_scaled_by_the_range_of_their_type(tmp_path: Path, kind: str, white: int) -> None:
    values = np.full((32, 32), (white - 1) // 5, dtype=kind)
    values[0, 0], values[0, 1] = white - 1, 0
    write_tiff(tmp_path / "a.tif", values)
    image = read_image(tmp_path / "a.tif")
    assert at(image, 0, 0) == [1, 1, 1] and at(image, 0, 1) == [0, 0, 0]
    assert at(image, 9, 9) == pytest.approx([0.2] * 3, abs=1e-4)


def test_white_is_zero(tmp_path: Path) -> None:
    """Scanners write so; Pillow turns it for 8 bits alone."""
    for name, kind in (("a.tif", "uint8"), ("b.tif", "uint16")):
        values = np.zeros((32, 32), dtype=kind)
        values[0, 0] = np.iinfo(kind).max
        write_tiff(tmp_path / name, values, white_is_zero=True)
        assert at(read_image(tmp_path / name), 0, 0) == [0, 0, 0]
        assert at(read_image(tmp_path / name), 5, 5) == [1, 1, 1]


@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "int32"])
def test_values_of_a_smaller_type_are_not_black_in_silence(tmp_path: Path, kind: str) -> None:
    write_tiff(tmp_path / "a.tif", NOISE.astype(kind))
    with pytest.raises(InputError, match=r"a\.tif holds values up to 255 where white is \d+ and would be almost black"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["int16", "int32", "float32"])
def test_negative_values_are_refused(tmp_path: Path, kind: str) -> None:
    write_tiff(tmp_path / "a.tif", NOISE.astype(kind) - 3)
    with pytest.raises(InputError, match=r"a\.tif holds negative values, down to -3; export it again as an 8-bit PNG"):
        read_image(tmp_path / "a.tif")


def test_transparent_grey_of_sixteen_bits(tmp_path: Path) -> None:
    values = np.full((32, 32), 40000, dtype=np.uint16)
    values[0, 0] = 7
    Image.fromarray(values).save(tmp_path / "a.png", transparency=7)
    assert at(read_image(tmp_path / "a.png"), 0, 0) == [1, 1, 1]
    assert at(read_image(tmp_path / "a.png"), 1, 1) == pytest.approx([40000 / 65535] * 3)


@pytest.mark.skipif(BEFORE_13, reason="Pillow 12 knows no grey of associated alpha")
def test_associated_alpha(tmp_path: Path) -> None:
    """Grey of one half, half of it there: three quarters over white."""
    write_tiff(tmp_path / "a.tif", np.tile(np.array([64, 128], dtype=np.uint8), (40, 40, 1)))
    with Image.open(tmp_path / "a.tif") as opened:
        assert opened.mode == "La"
    assert at(read_image(tmp_path / "a.tif"), 3, 3) == pytest.approx([0.75] * 3, abs=0.01)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize(("orientation", "row", "column"), [(3, 39, 63), (5, 0, 0), (6, 0, 39), (8, 63, 0)])
def test_turned_tiff(tmp_path: Path, compression: str | None, orientation: int, row: int, column: int) -> None:
    image = Image.new("L", (64, 40))
    image.paste(255, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.tif", exif=exif, compression=compression)
    result = read_image(tmp_path / "a.tif")
    assert result.shape[-2:] == ((40, 64) if orientation == 3 else (64, 40))
    assert result[0, 0, row, column] == 1 and result.mean().item() == pytest.approx(16 * 16 / (64 * 40))


@pytest.mark.parametrize(
    ("mode", "form"), [("LAB", "tif"), ("YCbCr", "tif"), ("PA", "tif"), ("P", "gif"), ("1", "bmp")]
)
def test_other_modes(tmp_path: Path, mode: str, form: str) -> None:
    if BEFORE_13 and mode == "YCbCr":
        pytest.skip("Pillow 12 does not read the YCbCr TIFF that it writes")
    image = Image.new("RGB", (40, 40), "white")
    lightest = (255, 128, 128)
    image = Image.new("LAB", (40, 40), lightest) if mode == "LAB" else image.convert("P" if mode == "PA" else mode)
    image.convert(mode).save(tmp_path / f"a.{form}")
    assert at(read_image(tmp_path / f"a.{form}"), 3, 3) == pytest.approx([1, 1, 1], abs=1 / 255)


# --- colour profiles ---


P3, ADOBE = rgb_profile(DISPLAY_P3, srgb_curve()), rgb_profile(ADOBE_RGB, gamma(2.19921875))


@pytest.mark.parametrize(
    ("mode", "value", "data", "form", "expected"),
    [
        ("RGB", (201, 62, 48), P3, "png", (218, 44, 35)),
        ("RGB", (201, 62, 48), P3, "tif", (218, 44, 35)),
        ("RGB", (100, 150, 200), ADOBE, "png", (66, 151, 203)),
        ("RGB", (200, 200, 200), P3, "png", (200, 200, 200)),
        ("RGBA", (201, 62, 48, 255), P3, "webp", (218, 44, 35)),
        ("RGBA", (201, 62, 48, 0), P3, "png", (255, 255, 255)),
        ("P", (201, 62, 48), P3, "png", (218, 44, 35)),
        ("L", 128, grey_profile(1.0), "png", (188, 188, 188)),
        ("LA", (128, 255), grey_profile(1.0), "png", (188, 188, 188)),
        ("I;16", 128 * 257, grey_profile(1.0), "png", (188, 188, 188)),
        ("L", 128, P3, "png", (128, 128, 128)),
        ("CMYK", (200, 10, 30, 128), cmyk_profile(), "tif", (119, 119, 119)),
        ("CMYK", (200, 10, 30, 128), cmyk_profile(), "jpg", (119, 119, 119)),
    ],
)
def test_colours_are_read_by_the_profile(
    tmp_path: Path, mode: str, value: object, data: bytes, form: str, expected: tuple[int, ...]
) -> None:
    """Expected values by the formulas of the colour spaces: matrices with D50 white, sRGB's curve, CIE L*."""
    image = Image.new("RGB" if mode == "P" else mode, (40, 40), value)  # type: ignore[arg-type]
    options = {"lossless": True} if form == "webp" else {"quality": 100} if form == "jpg" else {}
    (image.quantize(4) if mode == "P" else image).save(tmp_path / f"a.{form}", icc_profile=data, **options)
    pixel = read_image(tmp_path / f"a.{form}")[0, :, 20, 20] * 255
    assert pixel.tolist() == pytest.approx(expected, abs=1.01)


@pytest.mark.parametrize(
    ("mode", "data"),
    [("RGB", b"junk"), ("RGB", P3[:200]), ("RGB", b""), ("RGB", grey_profile(1.0)), ("L", cmyk_profile()),
     ("CMYK", P3), ("RGB", P3[:132] + b"\xff" * 200)],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_is_left_out(
    tmp_path: Path, mode: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    image = Image.new(mode, (40, 40), (10, 20, 30, 40)[: len(Image.new(mode, (1, 1)).getbands())])
    image.save(tmp_path / "plain.tif")
    image.save(tmp_path / "a.tif", icc_profile=data)
    for _ in range(2):
        assert torch.equal(read_image(tmp_path / "a.tif"), read_image(tmp_path / "plain.tif"))
    messages = [message for message in caplog.messages if "a.tif: the colour profile cannot be used" in message]
    assert len(messages) == (1 if data else 0)


@pytest.mark.parametrize(("exponent", "expected"), [(1.0, 188), (0.45455, 128), (None, 128)])
def test_gamma_of_a_png(tmp_path: Path, exponent: float | None, expected: int) -> None:
    info = PngImagePlugin.PngInfo()
    if exponent:
        info.add(b"gAMA", struct.pack(">I", round(exponent * 100000)))
    Image.new("L", (40, 40), 128).save(tmp_path / "a.png", pnginfo=info)
    assert (read_image(tmp_path / "a.png") * 255).unique().tolist() == pytest.approx([expected])


@pytest.mark.parametrize(("orientation", "row", "column"), [(1, 0, 0), (3, 39, 63), (6, 0, 39), (8, 63, 0)])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, row: int, column: int) -> None:
    image = Image.new("RGB", (64, 40))
    image.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    result = read_image(tmp_path / "a.jpg")
    assert result.shape[-2:] == ((40, 64) if orientation in (1, 3) else (64, 40))
    assert min(at(result, row, column)) > 0.95
    assert result.mean().item() == pytest.approx(16 * 16 / (64 * 40), abs=0.02)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = at(read_image(tmp_path / "a.jpg"), 9, 9)
    assert (red > 0.95, green < 0.05, blue < 0.05) == (True, True, True)


def test_phone_picture_with_a_preview_is_not_an_animation(tmp_path: Path) -> None:
    """Cameras append a preview or depth map to a JPEG (MPO); the first frame is the picture."""
    picture = Image.new("RGB", (48, 40), "red")
    picture.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (48, 40), "blue")])
    assert read_image(tmp_path / "phone.jpg").shape == (1, 3, 40, 48)
    assert at(read_image(tmp_path / "phone.jpg"), 9, 9)[0] > 0.95


def test_smallest_side(tmp_path: Path) -> None:
    Image.new("RGB", (32, 500)).save(tmp_path / "enough.png")
    Image.new("RGB", (500, 31)).save(tmp_path / "small.png")
    assert read_image(tmp_path / "enough.png").shape == (1, 3, 500, 32)
    with pytest.raises(InputError, match=r"small\.png has 500x31 pixels, fewer than 32"):
        read_image(tmp_path / "small.png")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read_by_its_content(tmp_path: Path, form: str) -> None:
    """Named as one likes; a single frame of what could move is a picture."""
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "a.bin", form)
    assert at(read_image(tmp_path / "a.bin"), 9, 9) == pytest.approx([1, 0, 0], abs=0.02)
    assert {suffix for suffix in SUFFIXES if Image.registered_extensions()[suffix] == form} == set(FORMATS[form])


@pytest.mark.parametrize("form", ["EPS", "PPM", "TGA", "ICO", "PCX", "SGI", "PDF"])
def test_other_formats_are_not_opened(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS is a program, which Pillow would have Ghostscript run."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png", form)
    with pytest.raises(InputError, match=r"a\.png is not a picture of PNG, JPEG, WEBP, .*; convert it to PNG or JPEG"):
        read_image(tmp_path / "a.png")


# --- broken files ---


@pytest.mark.parametrize("kind", BROKEN_PICTURES)
def test_broken_picture_is_named(tmp_path: Path, kind: str) -> None:
    name, make, says = BROKEN_PICTURES[kind]
    make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name))
    assert says in message
    assert "\n" not in message


def test_folder_is_not_a_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; pass the path of a picture"):
        read_image(tmp_path)


def test_huge_header_costs_no_memory(tmp_path: Path) -> None:
    """Refused by the header alone: 30000² RGB would be 2.7 GB."""
    resource = pytest.importorskip("resource")
    claim_size(tmp_path / "a.png", 30000, 30000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="more than 100 megapixels"):
        open_image(tmp_path / "a.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "a.png", 0)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(InputError, match=r"a\.png cannot be read \(Permission denied\); check the path and its per"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"])
def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path, form: str) -> None:
    """Bit rot anywhere in a file gives a picture or an InputError, whatever Pillow raises inside."""
    path = tmp_path / "a.bin"
    Image.fromarray(np.stack([NOISE] * 3, axis=-1)).save(path, form)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for position in random.integers(0, min(len(data), 400), 5):
            data[position] = random.integers(256)
        path.write_bytes(data[: random.integers(len(data) // 2, len(data) + 1)])
        try:
            read_image(path)
        except InputError as error:
            refused += 1
            assert str(error).startswith(str(path))
    assert refused > 5


# --- lists of pictures ---


def test_folder_lists_its_pictures_in_order(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.webp"):
        paint(tmp_path / name, 0)
    (tmp_path / "notes.txt").write_text("")
    assert [path.name for path in list_images(str(tmp_path))] == ["a.jpg", "b.PNG", "c.webp"]


def test_folder_takes_every_format_and_names_what_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = sorted(f"{number}{suffix}" for number, suffix in enumerate(sorted(SUFFIXES)))
    for name in (*pictures, "film.mov", "phone.HEIC", "layers.psd", ".hidden.png", "._0001.png"):
        (tmp_path / name).touch()
    for name in (".ipynb_checkpoints", "drafts", "looks_like.png"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    for _ in range(2):
        for source in (str(tmp_path), f"{tmp_path}/*"):
            assert [path.name for path in list_images(source)] == pictures
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        f"taken as pictures {len(pictures)}, left out 5 (drafts/, film.mov, layers.psd, looks_like.png/, phone.HEIC)"
    ] * 2  # once for the folder, once for the pattern


def test_hidden_pictures_are_taken_where_they_are_named(tmp_path: Path) -> None:
    hidden = tmp_path / ".private"
    for folder in (hidden, hidden / ".cache", tmp_path / "open"):
        folder.mkdir()
        paint(folder / "a.png", 0)
    assert list_images(str(hidden)) == list_images(f"{hidden}/*.png") == [hidden / "a.png"]
    assert list_images(f"{tmp_path}/**/*.png") == [tmp_path / "open" / "a.png"]
    assert list_images(f"{tmp_path}/*/*.png") == [tmp_path / "open" / "a.png"]


def test_a_notice_is_given_once(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        notice("three times")
    assert caplog.messages == ["three times"]


@pytest.mark.parametrize("relative", [False, True])
def test_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool) -> None:
    for name in ("b1.png", "b2.png", "a1.png"):
        paint(tmp_path / name, 0)
    monkeypatch.chdir(tmp_path)
    found = list_images("b?.png" if relative else f"{tmp_path}/b*.png")
    assert [path.name for path in found] == ["b1.png", "b2.png"]
    assert all(path.is_file() for path in found)


@pytest.mark.parametrize("source", ["", "/*.png"])
def test_nothing_there(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError, match="holds no picture") as caught:
        list_images(f"{tmp_path}{source}")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("call", ["is_dir", "iterdir", "stat"])
def test_a_path_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """What Python 3.11 raises where it may not look into a folder, or where a name is longer than names can be."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(Path, call, refuse)
    with pytest.raises(InputError, match=r"^\S+ cannot be read \(Permission denied\); check the path and its per"):
        list_images(str(tmp_path))
    if call == "stat":
        with pytest.raises(InputError, match=r"a\.png cannot be read \(Permission denied\); check the path"):
            open_image(tmp_path / "a.png")


def test_what_is_no_pattern(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\*\*\.png (cannot be read|holds no picture).*; check the path"):
        list_images(f"{tmp_path}/**.png")


def test_file_name_with_brackets_is_a_file(tmp_path: Path) -> None:
    """Browsers save `photo[1].png`; what exists under that very name is meant."""
    path = paint(tmp_path / "photo[1].png", 0)
    assert list_images(str(path)) == [path]


# --- resize and writing ---


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [
        ((300, 500), "square", (64, 64)),
        ((100, 100), "keep", (64, 64)),
        ((64, 80), "keep", (56, 72)),
        ((2000, 32), "keep", (504, 32)),  # the short side never falls below four cells
        ((32, 200_000), "keep", (32, 512)),  # nor is the long one above eight times the resolution
    ],
)
def test_resize_sides(size: tuple[int, int], mode: str, expected: tuple[int, int]) -> None:
    assert resize(torch.rand(1, 3, *size), 64, mode, 8).shape[-2:] == expected


def test_resize_keeps_values_in_range_and_constant_pictures_constant() -> None:
    edge = torch.zeros(1, 3, 64, 64)
    edge[..., 32:] = 1
    assert resize(edge, 500, "square", 8).shape[-2:] == (496, 496)
    resized = resize(edge, 96, "square", 8)
    assert (resized.min().item(), resized.max().item()) == (0, 1)
    constant = resize(torch.full((1, 3, 50, 70), 0.3), 64, "keep", 8)
    assert torch.allclose(constant, torch.tensor(0.3), atol=1e-6)


def test_pixels_round_to_nearest_and_come_back(tmp_path: Path) -> None:
    values = torch.tensor([0, 0.4, 0.6, 254.5001, 255]).view(1, 1, 1, 5).expand(1, 3, 1, 5) / 255
    assert to_pixels(values)[0, :, 0].tolist() == [0, 0, 1, 255, 255]
    pixels = np.stack([NOISE, NOISE[::-1], NOISE[:, ::-1]], axis=-1)
    write_png(tmp_path / "a.png", pixels, {"seed": "7"})
    assert np.array_equal(to_pixels(read_image(tmp_path / "a.png")), pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["seed"] == "7"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
