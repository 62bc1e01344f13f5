"""The shipped model is what the card says, and the scripts that made it run and resume."""

import csv
import errno
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from composing import configured
from conftest import ROOT
from PIL import Image
from safetensors import SafetensorError
from scipy import ndimage

from benchmarks.subjects import settings as method_settings
from stylegallery.embedded import train as training
from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.embedded.checkpoint import resume, save_model, save_parts
from stylegallery.embedded.critics import PatchDiscriminator, Perception, balance, cell_pattern, texture_distance
from stylegallery.embedded.painting import PAINTERS, painted_over
from stylegallery.embedded.pictures import STRIDE, PictureBank, recolour, semantic_maps, training_batch
from stylegallery.embedded.train_autoencoder import canonicalise, psnr, spoilt
from stylegallery.embedded.train_unet import GuidedUNet, make_text_encoder, surroundings
from stylegallery.errors import InputError, MachineError
from stylegallery.images import read_image, resize
from stylegallery.models.attention import SelfAttention
from stylegallery.models.factory import from_directory
from stylegallery.models.unet import record_self_attention, self_attention_layers
from stylegallery.picture_files import list_images
from stylegallery.weights import locate

WEIGHTS = locate("embedded")
SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def test_shipped_files_are_small_fp16_safetensors_in_diffusers_layout() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 50e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    assert set(json.loads((WEIGHTS / "model_index.json").read_text())) >= {"unet", "vae", "scheduler", "text_encoder"}


def test_topology_is_stable_diffusions() -> None:
    model = configured(from_directory, "embedded")
    assert len(self_attention_layers(model.unet)) == 16
    assert model.stride == 8
    assert model.timesteps(15)[0] == 925
    assert model.scheduler.config["prediction_type"] == "epsilon"


@pytest.mark.slow
def test_autoencoder_keeps_the_samples() -> None:
    autoencoder = LappedAutoencoder.from_pretrained(WEIGHTS / "vae", torch_dtype=torch.float32)
    images = [resize(read_image(path), 256, "square", 8) for path in list_images(str(SAMPLES / "content"))]
    assert psnr(autoencoder, torch.cat(images) * 2 - 1) > 29


def test_the_measure_of_the_grid_knows_a_pattern_of_its_own() -> None:
    grid = runpy.run_path(str(ROOT / "benchmarks" / "grid.py"))["grid"]
    noise = np.random.default_rng(0).normal(128, 3, (248, 256))
    pulses = np.tile([4.0, 0, 0, 0, 0, 0, 0, 0], 32)
    ratio, amplitude = grid(noise + pulses)
    assert ratio > 4
    assert amplitude == pytest.approx(pulses.std(), rel=0.1)
    assert grid((noise + pulses).T) == pytest.approx((ratio, amplitude))
    assert grid(noise + np.tile([1.0, -1], 128))[1] == pytest.approx(1, rel=0.1)
    rough = noise.copy()
    rough[:100] += np.random.default_rng(1).normal(0, 30, (100, 256))  # seldom counted: the rest is what is smooth
    assert grid(rough + pulses)[1] == pytest.approx(pulses.std(), rel=0.1)
    assert grid(noise + np.tile([4.0, 0, 0, 0, 0, 0, 0], 37)[:256])[0] < 2  # every 7 pixels is no grid of 8
    assert grid(noise + np.tile([4.0, 0, 0, 0, 0, 0, 0], 37)[:256], cell=7)[0] > 4
    assert grid(noise)[0] < 1.5
    assert grid(np.full((64, 64), 128.0)) == (1, 0)


@pytest.mark.slow
def test_unet_predicts_the_noise_of_a_photo_better_than_nothing() -> None:
    """Predicting zero has mean squared error 1."""
    model = configured(from_directory, "embedded")
    image = resize(read_image(next(iter(list_images(str(SAMPLES / "content"))))), 256, "square", 8)
    latent, generator = model.encode(image), torch.Generator().manual_seed(0)
    noise = torch.randn(latent.shape, generator=generator)
    for timestep, bound in ((200, 0.6), (600, 0.35)):
        alpha_bar = model.alpha_bar(timestep)
        with torch.no_grad():
            predicted = model.predict_noise(alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * noise, timestep)
        assert (predicted - noise).square().mean() < bound


@pytest.mark.slow
def test_last_layers_attend_selectively() -> None:
    """A thousand keys weighed alike make an average in which no stroke survives: before the attention stage of the
    training the median entropy was that of 690 to 850 of 1024."""
    model = configured(from_directory, "embedded")
    image = resize(read_image(SAMPLES / "content" / "china.jpg"), 256, "square", 8)
    with torch.no_grad():
        layers = model.self_attention(model.encode(image), 100, range(13, 16))
    for layer in layers:
        weights = (layer.query @ layer.key.mT / layer.query.shape[-1] ** 0.5).softmax(-1)
        entropy = -(weights * weights.clamp_min(1e-12).log()).sum(-1)
        assert entropy.exp().median() < 500
        assert weights.diagonal(dim1=-2, dim2=-1).mean() > 10 / 1024


def test_canonical_latents_are_uncorrelated_sorted_and_decode_the_same() -> None:
    torch.manual_seed(0)
    autoencoder = LappedAutoencoder(latent_channels=6, width=8)
    generator = torch.Generator().manual_seed(1)
    images = torch.nn.functional.interpolate(torch.rand(8, 3, 16, 16, generator=generator), size=(128, 128)) * 1.5 - 0.5
    before = autoencoder.synthesis(autoencoder.analysis(images))
    canonicalise(autoencoder, images, exponent=0.5)
    latents = autoencoder.analysis(images)
    covariance = torch.cov(latents.transpose(0, 1).flatten(1))
    deviations = covariance.diag().sqrt()
    assert torch.allclose(covariance, covariance.diag().diag(), atol=1e-3)
    assert (deviations.diff() < 1e-4).all()
    assert covariance.diag().mean().item() == pytest.approx(1, abs=1e-3)
    # Centring the latents leaves, away from the border, at most a pattern that is the same in every picture and cell.
    change = (autoencoder.synthesis(latents) - before)[..., 8:-8, 8:-8]
    assert torch.allclose(change, change[:1, :, :8, :8].repeat(8, 1, 14, 14), atol=1e-3)
    assert change.mean((0, 2, 3)).abs().max() < 1e-4  # no picture is brighter or darker


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for kind in ("photo", "art"):
        (folder / kind).mkdir()
        for index in range(20):
            noise = ndimage.gaussian_filter(generator.normal(size=(112, 96, 3)), (4, 4, 0))
            pixels = (np.clip(noise / noise.std() * 0.25 + 0.5, 0, 1) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{index:02d}.jpg")
    return folder


@pytest.mark.slow
def test_every_stage_trains_resumes_and_exports(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, out = tmp_path / "work", tmp_path / "weights"

    def run(stage: str, *options: str) -> None:
        monkeypatch.setattr("sys.argv", ["train", stage, "--work", str(work), *options])
        training.main()

    # The crops of stages 1 and 2 are 128 px; these pictures are smaller to be quick.
    monkeypatch.setattr("stylegallery.embedded.train_autoencoder.CROP", 64)
    monkeypatch.setattr("stylegallery.embedded.train_autoencoder.CHECK", 80)
    data = ("--data", str(pictures))
    run("encoder", *data, "--steps", "3")
    decoder = ("--steps", "2", "--batch", "2", "--adversarial-from", "1")  # the second step has a discriminator
    run("decoder", *data, *decoder, "--minutes", "0")  # one step a call
    run("decoder", *data, *decoder)
    run("unet", *data, "--steps", "1", "--batch", "4", "--size", "64")
    run("unet", *data, "--steps", "2", "--batch", "4", "--size", "64")
    run("export", "--out", str(out))
    (work / "decoder.pt").unlink()
    run("decoder", *data, "--steps", "1", "--batch", "2", "--unet", str(out))
    rows = [(row[0], int(row[1])) for row in csv.reader((work / "log.csv").open())]
    for stage in ("decoder", "unet"):
        assert [row for row in rows if row[0] == stage][:2] == [(stage, 1), (stage, 2)]
    assert torch.load(work / "unet.pt", weights_only=True)["step"] == 2
    after = torch.load(work / "unet.pt", weights_only=True)["average"]
    exported = configured(from_directory, str(out))
    assert not exported.paints_from_noise
    for name in ("conv_in.weight", "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_k.weight"):
        assert torch.equal(exported.unet.get_parameter(name), after[f"unet.{name}"].half().float())
    # A trained network to start from: its weights stay while the new heads learn.
    monkeypatch.setattr("stylegallery.embedded.train_unet.WARM_UP", 2)
    (work / "unet.pt").unlink()
    run("unet", *data, "--steps", "1", "--batch", "4", "--size", "64", "--initial", str(out))
    first = torch.load(work / "unet.pt", weights_only=True)["model"]
    assert torch.equal(first["unet.conv_in.weight"], exported.unet.get_parameter("conv_in.weight"))
    assert not torch.equal(first["semantics.weight"], after["semantics.weight"])


# --- what training is given, and what becomes of it ---


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a stage in a work folder `work`; the sentence with which it ends, or nothing."""

    def run(stage: str, *options: str) -> str:
        monkeypatch.setattr("sys.argv", ["train", stage, "--work", str(tmp_path / "work"), *options])
        try:
            training.main()
        except SystemExit as end:
            assert end.code == 2
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("stage", "options", "sentence"),
    [
        ("encoder", ["--steps", "0"], "--steps: it must be 1 or more, not 0"),
        ("decoder", ["--lr", "0"], "--lr: it must lie between 0 and 1, not 0"),
        ("unet", ["--batch", "1"], "--batch: it must be 2 or more, not 1"),
        ("unet", ["--size", "100"], "--size: it must be a multiple of 8 from 64 on, not 100"),
        (
            "encoder",
            ["--data", "nowhere"],
            r"nowhere/photo and nowhere/photo_open have 0 pictures; put 20 or more there",
        ),
        ("encoder", [], r"photo/00\.jpg has a side of 96 px; enlarge it to 256 or remove it"),
        ("decoder", [], "vae holds no model in diffusers layout; run the stage encoder first"),
        ("unet", [], "vae holds no model in diffusers layout; run the stages encoder and decoder first"),
    ],
)
def test_training_says_what_it_cannot_use(
    stage: str, options: list[str], sentence: str, pictures: Path, train: Callable[..., str]
) -> None:
    assert re.search(sentence, train(stage, "--data", str(pictures), *options))


def test_no_stage_takes_the_work_of_another_run(pictures: Path, tmp_path: Path, train: Callable[..., str]) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    assert "run the stages encoder and decoder first" in train("export", "--out", str(out))
    LappedAutoencoder(width=8).save_pretrained(work / "vae")
    assert "has no unet.pt; run the stage unet first" in train("export", "--out", str(out))
    assert not out.exists()
    (work / "unet.pt").write_bytes(b"broken")
    assert "unet.pt is no checkpoint of this model; remove it" in train("export", "--out", str(out))
    (work / "decoder.pt").touch()
    assert "has a decoder of another encoder; pass another --work" in train("encoder", "--data", str(pictures))


@pytest.mark.parametrize(
    ("broken", "told"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (SafetensorError("No space left"), MachineError)],
    ids=["killed", "full"],
)
def test_a_model_is_whole_when_its_writer_was_not(
    broken: BaseException, told: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = LappedAutoencoder(width=8), tmp_path / "vae"
    save_model(folder, model)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def half(place: Path) -> None:
        place.mkdir()
        (place / "diffusion_pytorch_model.safetensors").write_bytes(b"half")
        raise broken

    with monkeypatch.context() as patch, pytest.raises(told):
        patch.setattr(model, "save_pretrained", half)
        save_model(folder, model)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with torch.no_grad():
        model.analysis.weight.add_(1)
    save_model(folder, model)
    assert torch.equal(LappedAutoencoder.from_pretrained(folder).analysis.weight, model.analysis.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["vae"]


def test_a_checkpoint_is_kept_from_numbers_that_ran_away_and_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, path, device = torch.nn.Linear(2, 2), tmp_path / "unet.pt", torch.device("cpu")
    parts = {"model": layer}
    assert resume(path, parts, device) == 0
    save_parts(path, parts, 7)
    good = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"step 8: weights are no finite numbers; .*unet\.pt keeps an earlier step"):
        save_parts(path, parts, 8)
    assert resume(path, parts, device) == 7 and torch.equal(layer.weight, good)

    def full(state: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(MachineError, match="No space left on device"):
        patch.setattr(torch, "save", full)
        save_parts(path, parts, 9)
    assert resume(path, parts, device) == 7 and [found.name for found in tmp_path.iterdir()] == ["unet.pt"]
    with pytest.raises(InputError, match="no checkpoint of this model"):
        resume(path, {"model": torch.nn.Linear(3, 3)}, device)


# --- parts of training ---


def test_a_decoder_meets_latents_as_stage_3_ends_with_them() -> None:
    latents = torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    model = configured(from_directory, str(WEIGHTS))
    projected = model.project(latents, method_settings("model=embedded").guidance.extras.projection_timestep)
    with torch.no_grad():
        noise_free = spoilt(latents, 0.0, model, torch.Generator())
    assert torch.equal(noise_free[:2], latents[:2])
    rounding = (noise_free - projected)[2:].abs().mean()  # of half precision
    assert rounding < 0.2 * (projected - latents)[2:].abs().mean()


def test_most_latents_that_a_decoder_learns_from_have_little_noise() -> None:
    latents = torch.zeros(1000, 1, 8, 8)
    strength = spoilt(latents, 0.5, None, torch.Generator().manual_seed(0)).std((1, 2, 3))
    assert strength.max() < 0.7 and strength.quantile(0.9) > 0.25  # 0.5 · 0.9⁴ = 0.33
    assert strength.median() == pytest.approx(0.5 * 0.5**4, rel=0.2)


def test_a_grid_is_what_repeats_in_every_cell() -> None:
    pattern = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pattern -= pattern.mean((2, 3), keepdim=True)
    repeated = pattern.repeat(2, 1, 8, 8)
    strength = pattern.abs().mean()
    torch.testing.assert_close(cell_pattern(repeated, 8), strength)
    torch.testing.assert_close(cell_pattern(repeated + 0.7, 8), strength)  # a shift of colour is no grid
    signs = torch.tensor([1.0, -1.0]).repeat(4).repeat_interleave(8)
    torch.testing.assert_close(cell_pattern(repeated * signs, 8), torch.tensor(0.0))  # every other cell the opposite
    other = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(1)).repeat(1, 1, 8, 8)
    assert cell_pattern(other, 8) < 0.01  # 7 cells have every phase of a pattern of 7 pixels


def test_the_discriminator_gets_the_gradient_of_the_pixel_loss_at_the_decoded_pixels() -> None:
    decoded = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    distortion, fooled = (3 * decoded).sum(), (decoded * torch.tensor([0.5, -0.5])).sum()
    assert balance(distortion, fooled, decoded).item() == pytest.approx(6, rel=1e-4)


@pytest.mark.slow
def test_texture_distance_asks_for_strokes_near_their_place_and_not_in_it() -> None:
    draw = torch.Generator().manual_seed(0)
    strokes = ndimage.gaussian_filter(torch.randn(4, 1, 128, 128, generator=draw).numpy(), (0, 0, 0.6, 3))
    pictures = 0.3 * torch.from_numpy(strokes / strokes.std()).repeat(1, 3, 1, 1)

    def distance(images: torch.Tensor) -> float:
        return texture_distance(images, pictures, torch.Generator().manual_seed(1)).item()

    moved, blurred, turned = pictures.roll(5, dims=2), F.avg_pool2d(pictures, 3, 1, 1), pictures.mT.contiguous()
    assert distance(pictures) == 0
    assert (moved - pictures).abs().mean() > 2 * (blurred - pictures).abs().mean()
    assert distance(moved) < 0.4 * distance(blurred)
    assert distance(moved) < 0.6 * distance(turned)  # the same strength, another direction
    halved = torch.cat([pictures[..., :64], torch.zeros_like(pictures[..., 64:])], -1)
    assert distance(halved) > 3 * distance(moved)  # a window without any
    elsewhere = texture_distance(halved.roll(64, dims=3), halved, torch.Generator().manual_seed(1)).item()
    assert elsewhere > 3 * distance(moved)  # the same strokes in another window
    tinted = pictures + pictures.flip(-1) * torch.tensor([0.114, 0, -0.299]).view(1, 3, 1, 1)  # luminance as it was
    assert distance(tinted) < 1e-6


def test_discriminator_and_perception_look_at_texture_not_at_places_far_away() -> None:
    torch.manual_seed(0)
    judge, images = PatchDiscriminator().eval(), torch.rand(1, 3, 96, 96) * 2 - 1
    for places, same, seen in ((slice(64, None), slice(13), 13), (slice(32), slice(11, None), 10)):
        changed = images.clone()
        changed[..., places] = 0
        difference = (judge(images) - judge(changed)).abs()[0, 0]
        assert difference[:, same].max() == 0 and difference[:, seen].max() > 0  # four pixels a column, 22 seen by each
    perception = Perception()
    assert perception(images, images).item() == 0
    blurred = F.avg_pool2d(images, 5, 1, 2)
    assert perception(blurred, images) > perception(0.9 * images, images) > 0
    assert perception(images.flip(-1), images) > perception(0.9 * images, images)  # features in their places


@pytest.mark.parametrize("index", range(len(PAINTERS)), ids=[paint.__name__ for paint in PAINTERS])
def test_painters_keep_size_and_place_and_repeat(index: int) -> None:
    ramp = torch.linspace(20, 235, 96).round().byte().expand(3, 64, 96)  # dark on the left, light on the right
    pictures = [ramp] * (index + 1)
    painted = painted_over(pictures, 3)[index]
    assert painted.shape == ramp.shape and painted.dtype == torch.uint8
    assert not torch.equal(painted, ramp)
    assert torch.equal(painted, painted_over(pictures, 3)[index])
    assert not torch.equal(painted, painted_over(pictures, 4)[index])
    assert painted[:, :, 72:].float().mean() > painted[:, :, :24].float().mean() + 10


@pytest.mark.slow
def test_semantic_maps_are_those_of_the_pictures_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    pictures = [torch.randint(0, 256, (3, 64, 64), generator=draw, dtype=torch.uint8) for _ in range(4)]
    path, device = tmp_path / "maps.pt", torch.device("cpu")
    first = semantic_maps(pictures, path, device)
    with monkeypatch.context() as patch:
        patch.setattr("stylegallery.embedded.pictures.EfficientNetLite", None)  # the same again without a network
        for kept, made in zip(semantic_maps(pictures, path, device), first, strict=True):
            assert torch.equal(kept, made)
    other = semantic_maps(pictures[1:], path, device)  # a picture was taken out of the folder
    assert len(other) == 3 and not torch.equal(other[0], first[0])


def test_larger_keys_make_attention_selective_and_leave_queries_alone(tmp_path: Path) -> None:
    model = GuidedUNet(make_text_encoder(tmp_path)).eval()
    latents, timestep = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([100])

    def last_layer() -> SelfAttention:
        with torch.no_grad(), record_self_attention(model.unet, [10]) as records:
            model.unet(latents, timestep, model.prompt)
        return records[0]

    def weights(layer: SelfAttention) -> torch.Tensor:
        return (layer.query @ layer.key.mT / layer.query.shape[-1] ** 0.5).softmax(-1)

    before = last_layer()
    model.sharpen(30)
    after = last_layer()
    assert torch.equal(after.query, before.query)
    assert torch.allclose(after.key, 30 * before.key, rtol=1e-4, atol=1e-3)
    assert weights(after).amax(-1).mean() > 2 * weights(before).amax(-1).mean()


@pytest.mark.parametrize("side", [8, 4])
def test_surroundings_of_a_token_are_the_cells_it_covers_and_one_around(side: int) -> None:
    """On an 8x8 grid a layer of 8x8 tokens reads 3x3 cells, one of 4x4 tokens 4x4 cells."""
    latents = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    latents = (latents - latents.mean((0, 2, 3), keepdim=True)) / latents.std((0, 2, 3), keepdim=True)
    patches, ratio = surroundings(latents, side * side), 8 // side
    row, column = 2, 1
    top, left = row * ratio - 1, column * ratio - 1
    expected = latents[:, :, top : top + ratio + 2, left : left + ratio + 2].flatten(1)
    assert torch.allclose(patches[:, row * side + column], expected, atol=1e-5)


def test_a_crop_and_its_semantic_target_show_the_same_place() -> None:
    """Maps that are the pictures themselves, pooled: the target of a crop is the crop, pooled, mirrored or not."""
    draw = np.random.default_rng(0)
    pictures, maps = [], []
    for height, width in ((96, 128), (128, 96), (112, 112)):
        noise = ndimage.gaussian_filter(draw.normal(size=(3, height, width)), (0, 9, 9))
        pictures.append(torch.from_numpy(np.clip(noise / noise.std() * 40 + 128, 0, 255).astype(np.uint8)))
        maps.append(F.avg_pool2d(pictures[-1].float() / 127.5 - 1, STRIDE).half())
    bank = PictureBank.of([(0.5, pictures[:2], maps[:2]), (0.5, pictures[2:], maps[2:])], torch.device("cpu"))
    images, targets = training_batch(bank, 96, 64, torch.Generator().manual_seed(0))
    assert images.shape == (64, 3, 96, 96) and targets.shape == (64, 3, 12, 12)
    assert images.abs().max() <= 1
    differences = (F.avg_pool2d(images, STRIDE) - targets).abs().mean((1, 2, 3))
    assert (differences < 0.03).float().mean() > 0.5  # the others have another palette
    mirrored = (F.avg_pool2d(images.flip(-1), STRIDE) - targets).abs().mean((1, 2, 3))
    assert mirrored.median() > 0.1
    again = training_batch(bank, 96, 64, torch.Generator().manual_seed(0))
    assert torch.equal(images, again[0]) and torch.equal(targets, again[1])


def test_recolouring_turns_hues_and_keeps_greys_grey() -> None:
    grey = torch.linspace(-0.5, 0.5, 16).view(1, 1, 4, 4).repeat(5, 3, 1, 1)
    draws = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    turned = recolour(grey, draws)
    assert torch.allclose(turned, turned.mean(1, keepdim=True), atol=1e-6)
    # A third of a turn takes red to green to blue: angle 2π/3, saturation, gain and lift left alone.
    draws = torch.tensor([[(2 / 3 + 1) / 2, 0.7 / 1.5, 0.6, 0.5]])
    colours = torch.tensor([0.4, -0.2, 0.1]).view(1, 3, 1, 1)
    assert torch.allclose(recolour(colours, draws), colours.roll(1, dims=1), atol=1e-6)
