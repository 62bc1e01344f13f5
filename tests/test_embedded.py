"""The shipped model is what the card says, and the scripts that made it run and resume."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from stylegallery.attention import self_attention_layers
from stylegallery.diffusion import DiffusionModel
from stylegallery.embedded import train as training
from stylegallery.embedded.autoencoder import LappedAutoencoder
from stylegallery.embedded.train_autoencoder import canonicalise, psnr
from stylegallery.images import list_images, read_image, resize
from stylegallery.weights import locate

WEIGHTS = locate("embedded")
SAMPLES = Path(__file__).parents[1] / "data" / "samples"


def test_shipped_files_are_small_fp16_safetensors_in_diffusers_layout() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 50e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    assert set(json.loads((WEIGHTS / "model_index.json").read_text())) >= {"unet", "vae", "scheduler", "text_encoder"}


def test_topology_is_stable_diffusions() -> None:
    model = DiffusionModel.from_directory("embedded")
    assert len(self_attention_layers(model.unet)) == 16
    assert (model.stride, model.latent_channels) == (8, 16)
    assert model.timesteps(15)[0] == 925
    assert model.scheduler.config["prediction_type"] == "epsilon"


def test_autoencoder_keeps_the_samples() -> None:
    autoencoder = LappedAutoencoder.from_pretrained(WEIGHTS / "vae", torch_dtype=torch.float32)
    images = [resize(read_image(path), 256, "square", 8) for path in list_images(str(SAMPLES / "content"))]
    assert psnr(autoencoder, torch.cat(images) * 2 - 1) > 29


def test_unet_predicts_the_noise_of_a_photo_better_than_nothing() -> None:
    """Predicting zero has mean squared error 1."""
    model = DiffusionModel.from_directory("embedded")
    image = resize(read_image(next(iter(list_images(str(SAMPLES / "content"))))), 256, "square", 8)
    latent, generator = model.encode(image), torch.Generator().manual_seed(0)
    noise = torch.randn(latent.shape, generator=generator)
    for timestep, bound in ((200, 0.6), (600, 0.35)):
        alpha_bar = model.alpha_bar(timestep)
        with torch.no_grad():
            predicted = model.predict_noise(alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * noise, timestep)
        assert (predicted - noise).square().mean() < bound


def test_canonical_latents_are_uncorrelated_sorted_and_decode_the_same() -> None:
    torch.manual_seed(0)
    autoencoder = LappedAutoencoder(latent_channels=6, width=8)
    generator = torch.Generator().manual_seed(1)
    images = torch.nn.functional.interpolate(torch.rand(8, 3, 16, 16, generator=generator), size=(128, 128)) * 2 - 1
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
    run("decoder", *data, "--steps", "2", "--batch", "2")
    run("unet", *data, "--steps", "1", "--batch", "4", "--size", "64")
    run("unet", *data, "--steps", "2", "--batch", "4", "--size", "64")
    run("export", "--out", str(out))
    rows = [(row[0], int(row[1])) for row in csv.reader((work / "log.csv").open())]
    assert [row for row in rows if row[0] == "unet"] == [("unet", 1), ("unet", 2)]
    state = torch.load(work / "unet.pt", weights_only=True)
    assert state["step"] == 2
    exported = DiffusionModel.from_directory(str(out))
    assert torch.equal(exported.unet.conv_in.weight, state["average"]["unet.conv_in.weight"].half().float())
