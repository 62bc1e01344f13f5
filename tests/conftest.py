"""What all tests share: a tiny Stable Diffusion, small pictures, and three ways to call run.py."""

import gc
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console

from benchmarks.browser import chromium
from harness.jobs import Job
from harness.record import SCHEMA, Record, load_record
from stylegallery.errors import InputError
from stylegallery.provenance import file_digest
from stylegallery.regions import named_regions
from stylegallery.weights.download import fetch

if TYPE_CHECKING:
    from made_sweeps import Maker

    from stylegallery.models.diffusion import DiffusionModel
    from stylegallery.studio.visit import Visit
    from stylegallery.studio.workshop import Workshop

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"  # beside the project where it is developed; users have none
sys.path.insert(0, str(ROOT))  # run.py is a script, not part of the installed packages


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: the tests of launchers and of kills mostly wait."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Nothing that is imported is garbage: not to look for it saves time in imports, and some in every test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first: as the last ones they would keep one worker busy and the others idle."""
    long = [
        f"test_{name}.py"
        for name in (
            "launchers",
            "released",
            "notebooks",
            "experiments",
            "diffusion",
            "embedded",
            "cli",
            "models",
            "walkthrough",
            "extending",
        )
    ]
    items.sort(key=lambda item: long.index(item.path.name) if item.path.name in long else len(long))


@pytest.fixture(scope="session", autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Analyses of the tests are kept apart from the user's, also by the processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLEGALLERY_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in diffusers layout: Stable Diffusion 1.5's topology, randomly initialised, 16 px wide."""
    # Imported here: the process that hands out the tests reads this file too, and would keep the others waiting.
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("tiny_model")
    letters = [chr(number) for number in range(ord("a"), ord("z") + 1)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    tokenizer = CLIPTokenizer({token: i for i, token in enumerate(tokens)}, [], model_max_length=4)
    tokenizer.save_pretrained(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = CLIPTextConfig(
            vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=4, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )  # fmt: skip
        CLIPTextModel(text).save_pretrained(folder / "text_encoder")
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32, 32, 32), layers_per_block=2,
            cross_attention_dim=16, attention_head_dim=2, norm_num_groups=8,
        )  # fmt: skip
        unet.save_pretrained(folder / "unet")
        autoencoder = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
        autoencoder.save_pretrained(folder / "vae")
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> "DiffusionModel":
    """`tiny_model`, read as a run reads it."""
    return read_model(tiny_model)


@pytest.fixture(scope="module")
def shared_model() -> "DiffusionModel":
    """The tiny model that the shared vectors were computed with."""
    return read_model(SHARED / "vectors" / "tiny-sd")


def read_model(folder: Path) -> "DiffusionModel":
    from composing import configured

    from stylegallery.models.factory import from_directory

    return configured(from_directory, str(folder), device="cpu")


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- pictures ---


def paint(path: Path, seed: int, size: tuple[int, int] = (64, 64)) -> Path:
    """Write a smooth random colour picture of size (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


class Pictures(NamedTuple):
    content: Path
    first: Path
    second: Path

    def overrides(self) -> tuple[str, str]:
        return f"content={self.content}", f"references=[{self.first},{self.second}]"


def paint_three(folder: Path) -> Pictures:
    """Not square and not of one size: mixed up rows and columns, or pictures, show."""
    folder.mkdir(parents=True, exist_ok=True)
    return Pictures(
        paint(folder / "content.png", 1, (80, 64)),
        paint(folder / "first.png", 2),
        paint(folder / "second.jpg", 3, (72, 64)),
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return paint_three(tmp_path / "pictures")


def read_mask(path: Path) -> torch.Tensor:
    return named_regions(path)[0]


@pytest.fixture
def peak_memory() -> Callable[[], int]:
    """Bytes of the most memory this process has had since the last call."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def call() -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        clear.write_text("5")  # the high-water mark starts again from what is resident now
        return int(line.split()[1]) * 1024

    if not clear.exists():
        pytest.skip("the kernel counts no peak that can be reset")
    call()
    return call


# --- disks ---


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Any]:
    """Mounts small file systems: the only way to have a full or a read-only disk as root."""
    places: list[Path] = []

    def mount(name: str, options: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None:
            pytest.skip("there is no mount command")
        process = subprocess.run(call, capture_output=True, text=True)
        if process.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {process.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


# --- downloads ---


def fetched(*names: str) -> str:
    """What `fetch` prints of these entries."""
    console = Console(file=io.StringIO(), width=500)
    fetch(names, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def refused(*names: str) -> str:
    """The one sentence that `fetch` fails with."""
    with pytest.raises(InputError) as caught:
        fetched(*names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- run.py ---


@pytest.fixture(scope="session")
def small(tiny_model: Path) -> tuple[str, ...]:
    """Overrides for the tiny model. Its latents lie so close together that the paper's merging would leave one
    region everywhere; three clusters without merging leave several."""
    return (
        "model=sd15",
        f"model.path={tiny_model}",
        "encoder=efficientnet",
        "device=cpu",
        "store=null",
        "method.resolution=64",
        "method.guidance.steps=2",
        "method.segmentation.inversion_steps=2",
        "method.segmentation.clusters=[3,3]",
        "method.segmentation.restarts=1",
        "method.segmentation.merge_distance=0",
        "method.segmentation.smallest_component=2",
    )


RunCli = Callable[..., "subprocess.CompletedProcess[str]"]
RunInside = Callable[..., str]


@pytest.fixture(scope="session")
def command(small: tuple[str, ...]) -> list[str]:
    """The command line of `python run.py` with the tiny model."""
    return [sys.executable, str(ROOT / "run.py"), *small]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of a child process: as many threads as this one, since sums over threads decide the last bits."""
    return os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def run_cli(command: list[str], environment: dict[str, str]) -> RunCli:
    """`python run.py` with the tiny model and further overrides, in a process of its own."""

    def call(*overrides: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *overrides], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )

    return call


@pytest.fixture
def run_script(
    small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[RunCli]:
    """The same in this process: run.py as a script, with its exit code and what it printed."""

    def call(*overrides: str) -> "subprocess.CompletedProcess[str]":
        flags = [override for override in overrides if override.startswith("-")]  # argparse wants them first
        settings = [*small, *(override for override in overrides if override not in flags)]
        monkeypatch.setattr(sys, "argv", [str(ROOT / "run.py"), *flags, *settings])
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        return subprocess.CompletedProcess(sys.argv, int(exit.value.code or 0), *capfd.readouterr())

    before = torch.get_deterministic_debug_mode()
    yield call
    torch.set_deterministic_debug_mode(before)
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="session")
def composed(small: tuple[str, ...]) -> Callable[..., DictConfig]:
    """The config that run.py would get for the overrides."""

    def call(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("config", overrides=[*small, *overrides])

    return call


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a small run; what figures show is tested elsewhere."""
    from matplotlib.figure import Figure

    for name in ("overview", "match_figure", "energy_figure"):
        monkeypatch.setattr(f"stylegallery.figures.{name}", lambda *_: Figure(figsize=(1, 1)))


@pytest.fixture
def run_inside(composed: Callable[..., DictConfig], blank_figures: None) -> Iterator[RunInside]:
    """`run.run` alone, on the composed config and with blank figures: errors are raised; returns what it printed."""
    import run

    def call(*overrides: str) -> str:
        console = Console(file=io.StringIO(), width=200)
        run.run(composed(*overrides), console)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    before = torch.get_deterministic_debug_mode()
    yield call
    torch.set_deterministic_debug_mode(before)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures every call of the inverting network had."""
    from stylegallery.models.unet import UNetModel

    found: list[int] = []
    whole = UNetModel.predict_with_features

    def counted(self: UNetModel, latents: torch.Tensor, timestep: int) -> tuple[torch.Tensor, torch.Tensor]:
        found.append(len(latents))
        return whole(self, latents, timestep)

    monkeypatch.setattr(UNetModel, "predict_with_features", counted)
    return found


@pytest.fixture(scope="session")
def built(composed: Callable[..., DictConfig]) -> object:
    """The method of the unchanged small config, built once."""
    return instantiate(composed().method, _convert_="all")


@pytest.fixture
def run_built(built: object, run_inside: RunInside, monkeypatch: pytest.MonkeyPatch) -> RunInside:
    """`run_inside` without building the method again: for the many calls that must fail on their input."""
    monkeypatch.setattr("harness.building.instantiate", lambda *_, **__: built)
    return run_inside


# --- records ---


def result_record(folder: Path, **values: Any) -> Record:
    """Write the record of a result in a folder beside its picture, where there is one."""
    picture = folder / "stylised.png"
    facts = {"bytes": picture.stat().st_size, "sha256": file_digest(picture)} if picture.is_file() else None
    record = {
        "schema": SCHEMA, "digest": "d", "item": folder.name, "seed": 0, "config": {},
        "weights": {"model.path": "d"},
        "inputs": {"content": {"path": "gone.png", "sha256": "d"}},
        "size": [64, 64], "seconds": {"all": 1.0}, "peak_memory_mib": 1.0, "environment": {},
        "files": {picture.name: facts} if facts else {}, **values,
    }  # fmt: skip
    (folder / "record.json").write_text(json.dumps(record))
    return load_record(folder)


# --- benchmarks ---


class Gallery(NamedTuple):
    """Folders of small pictures for data=folder: `contents` x the three folders in `references`."""

    contents: Path
    references: Path

    def overrides(self) -> list[str]:
        return ["data=folder", f"data.contents={self.contents}", f"data.references={self.references}"]


def paint_gallery(folder: Path, contents: int = 4) -> Gallery:
    gallery = Gallery(folder / "contents", folder / "references")
    gallery.contents.mkdir(parents=True)
    for number in range(contents):
        paint(gallery.contents / f"c{number}.png", number)
    for number, size in enumerate((1, 2, 3)):
        (gallery.references / f"set{size}").mkdir(parents=True)
        for picture in range(size):
            paint(gallery.references / f"set{size}" / f"r{picture}.png", 100 + 10 * number + picture)
    return gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return paint_gallery(tmp_path / "gallery")


@pytest.fixture
def fake_config(gallery: Gallery) -> Callable[..., DictConfig]:
    """The config that run.py would get for method=fake on the gallery."""

    def call(*overrides: str) -> DictConfig:
        search = f"hydra.searchpath=[file://{ROOT / 'tests' / 'conf'}]"
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("config", overrides=[search, "method=fake", *gallery.overrides(), *overrides])

    return call


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def job(out: Path, gallery: Gallery) -> Job:
    """12 items of the gallery, label `fake`."""
    from running import job_of

    return job_of(out, "fake", gallery.contents.parent, {})


# --- published pages ---


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Maker":
    """Makes sweeps of scores that a test names."""
    from made_sweeps import Maker

    monkeypatch.setattr("evaluation.results.annotation_digest", lambda folder: "d")  # of every annotation
    return Maker(tmp_path)


@pytest.fixture
def table1(make: "Maker") -> Path:
    from made_sweeps import table1_of

    return table1_of(make)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without the seconds that their figures take."""
    files = lambda name, draw: {f"{name}{end}": b"drawn" for end in (".png", "_dark.png", ".pdf")}  # noqa: E731
    monkeypatch.setattr("evaluation.publish.plots.drawn", files)


# --- the studio ---


@pytest.fixture(scope="session")
def studio_overrides(small: tuple[str, ...]) -> list[str]:
    own = [override for override in small if not override.startswith("method.resolution")]
    return [*own, "resolution=64", "method.guidance.steps=4"]


@pytest.fixture(scope="session")
def workshop(studio_overrides: list[str]) -> "Workshop":
    """A studio's method, on the tiny model."""
    from stylegallery.studio.workshop import Workshop

    return Workshop(studio_overrides)


@pytest.fixture
def new_visit(workshop: "Workshop", tmp_path: Path) -> "Iterator[Callable[[], Visit]]":
    """Visitors without pictures."""
    from stylegallery.studio.visit import Visit

    made: list[Visit] = []

    def make() -> Visit:
        folder = tmp_path / f"visit_{len(made)}"
        folder.mkdir()
        made.append(Visit(workshop, folder))
        return made[-1]

    yield make
    for visit in made:
        visit.end()


@pytest.fixture
def visit(new_visit: "Callable[[], Visit]") -> "Visit":
    """A visitor with a photo and two paintings."""
    from stylegallery.studio.samples import sample

    visit = new_visit()
    visit.take_photo(*sample("content", "coffee"))
    visit.take_reference(*sample("style", "ink_mountains"))
    visit.take_reference(*sample("style", "mosaic_bay"))
    return visit


# --- a real browser ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, see `chromium`."""
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e .[dev]")
    try:
        with chromium() as found:
            yield found
    except FileNotFoundError as error:
        pytest.skip(str(error))
