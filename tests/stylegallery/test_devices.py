"""Devices and precision, and what makes bytes repeat on a GPU, as far as a machine without one can tell."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from composing import build_method, compose_config, configured
from conftest import Pictures, RunInside
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from evaluation.backbones import EfficientNetLite0
from harness.record import read_record
from stylegallery import devices
from stylegallery.contract import Item
from stylegallery.devices import cuda_trouble, pick_device, pick_dtype, repeatable_gradients
from stylegallery.environment import computing_on, cpu_name, environment
from stylegallery.errors import InputError
from stylegallery.models.factory import from_directory

WARN, ERROR = 1, 2
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"
# What PyTorch's documentation of use_deterministic_algorithms says has no repeatable version on CUDA, as operations.
VARYING = {
    "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward", "max_unpool2d",
    "max_unpool3d", "upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward",
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward", "nll_loss_forward",
    "nll_loss2d_forward", "_ctc_loss_backward", "_embedding_bag", "put_", "put", "histc", "bincount", "median.dim",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward", "scatter_reduce", "kthvalue",
}  # fmt: skip


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    mode = torch.get_deterministic_debug_mode()
    cuda_trouble.cache_clear()
    yield
    cuda_trouble.cache_clear()
    torch.set_deterministic_debug_mode(mode)


class Operations(TorchDispatchMode):
    """Names of the operations that run where PyTorch fails rather than varies, and of backward ones that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.guarded: set[str] = set()
        self.unguarded: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.removesuffix(".default")
        if torch.get_deterministic_debug_mode() == ERROR:
            self.guarded.add(name)
        elif name.endswith("_backward"):
            self.unguarded.add(name)
        return func(*args, **(kwargs or {}))


class Forward(TorchFunctionMode):
    """The modes in which attention and convolutions of what is differentiated are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        watched = func in (F.scaled_dot_product_attention, F.conv2d)
        if watched and torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args):
            self.modes.append(torch.get_deterministic_debug_mode())
        return func(*args, **(kwargs or {}))


METHODS = {
    "stylegallery": ("method.guidance.steps=2", "method.segmentation.inversion_steps=2"),
    "stylegallery_released": ("method.guidance.steps=2", "method.segmentation.inversion_steps=2"),
    "attention_distillation": ("method.steps=2",),
    "gatys": ("method.steps=2",),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_what_is_differentiated_runs_where_pytorch_fails_rather_than_varies(
    tiny_model: Path, pictures: Pictures, name: str
) -> None:
    """Forward too: the kernel of attention, and with it whether its gradient repeats, is chosen there. No operation is
    among those that PyTorch has no repeatable version of."""
    method = build_method(name, "model=sd15", f"model.path={tiny_model}", "resolution=64", *METHODS[name])
    item = Item("x", pictures.content, (pictures.first, pictures.second))
    with Operations() as operations, Forward() as forward:
        method.stylize(item, torch.Generator().manual_seed(0))
    assert set(forward.modes) == {ERROR}
    assert operations.unguarded == set()
    assert "convolution_backward" in operations.guarded
    assert operations.guarded & VARYING == set()
    assert torch.get_deterministic_debug_mode() == WARN


def test_operations_that_vary_are_recognised() -> None:
    picture = torch.rand(1, 1, 8, 8, requires_grad=True)
    with Operations() as operations, repeatable_gradients():
        F.pad(F.interpolate(picture, (4, 4), mode="bilinear"), (1, 1, 1, 1), mode="reflect").sum().backward()
    assert operations.guarded & VARYING == {"upsample_bilinear2d_backward", "reflection_pad2d_backward"}


@pytest.mark.parametrize(
    "load",
    [
        lambda path: configured(from_directory, str(path), device="cpu"),  # from another program
        lambda path: build_method("gatys", "resolution=64"),
        lambda path: EfficientNetLite0().network,  # a metric's
    ],
)
def test_who_loads_a_network_computes_repeatably(tiny_model: Path, load: Callable[[Path], object]) -> None:
    torch.set_deterministic_debug_mode("default")
    torch.backends.cuda.enable_cudnn_sdp(True)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    load(tiny_model)
    assert torch.get_deterministic_debug_mode() == WARN
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


# --- which device, and why not the other ---


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch warns of it once in a process."""
    said = [f"CUDA initialization: {OLD_DRIVER} (Triggered internally at CUDAFunctions.cpp:109.)"]

    def is_available() -> bool:
        while said:
            warnings.warn(said.pop(), stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)


@pytest.mark.slow
def test_a_gpu_that_is_not_used_is_named_before_stage_1_in_record_and_summary(
    run_built: RunInside, pictures: Pictures, tmp_path: Path, old_driver: None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody reads it
        printed = run_built(*pictures.overrides(), "device=auto", f"out={tmp_path / 'out'}")
    where = f"{cpu_name()} (cpu), float32; the GPU is not used: CUDA initialization: {OLD_DRIVER}"
    assert " ".join(printed.split()).startswith(f"computing on {where}")
    assert printed.count("too old") == 2  # and in the summary
    record = read_record(tmp_path / "out")
    assert record is not None
    assert computing_on(record.environment) == where
    assert {"torch", "cuda", "threads"} <= record.environment.keys()
    with pytest.raises(
        InputError, match=r"device cuda is not to be had here \(CUDA init.* too old .*; pass device=cpu"
    ):
        pick_device("cuda")


def test_a_cpu_that_was_asked_for_or_all_there_is_needs_no_word(
    monkeypatch: pytest.MonkeyPatch, old_driver: None
) -> None:
    assert "gpu" not in environment({"device": "cpu"})
    assert "gpu" not in environment({"resolution": 64})
    cuda_trouble.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "NVIDIA", ("/no/such/driver",))
    assert "gpu" not in environment({"device": "auto"})


def test_a_driver_without_a_gpu_that_pytorch_sees_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "NVIDIA", (str(tmp_path),))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "finds no GPU" in cuda_trouble()
    cuda_trouble.cache_clear()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert environment({"device": "auto"})["gpu"] == "not used: PyTorch is built without CUDA"
    cuda_trouble.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # somebody's wish
    assert cuda_trouble() == ""


# --- precision ---


@pytest.mark.parametrize(
    ("name", "device", "capability", "expected"),
    [
        ("auto", "cpu", None, torch.float32),
        ("auto", "cuda", (9, 0), torch.bfloat16),
        ("auto", "cuda", (7, 5), torch.float32),  # bfloat16 is emulated there
        ("float16", "cuda", (9, 0), torch.float16),
        ("float32", "cuda", (9, 0), torch.float32),
    ],
)
def test_precision_of_a_device(
    monkeypatch: pytest.MonkeyPatch, name: str, device: str, capability: tuple[int, int] | None, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert pick_dtype(name, torch.device(device)) == expected


def test_real_models_have_the_fast_precision_and_the_embedded_one_that_of_its_training() -> None:
    dtypes = {model: compose_config("stylegallery", f"model={model}").model.dtype for model in ("sd15", "sdxl")}
    assert dtypes == {"sd15": "auto", "sdxl": "auto"}
    assert compose_config("stylegallery").model.dtype == "float32"
    with pytest.raises(InputError, match="dtype is one of auto, float32, bfloat16, float16, not half"):
        pick_dtype("half", torch.device("cpu"))
