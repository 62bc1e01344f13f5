"""Updates without Python: a stand-in for CUDA graphs, which records operations and repeats them on the same memory.

All of replay.py runs, but for what these names of `torch.cuda` do. As on a GPU a capture computes nothing, numbers and
branches stay what they were at the capture, and it fails where values are asked of the device or copied to it.
"""

import gc
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

import pytest
import torch
from composing import configured
from conftest import normal
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from baselines.attention_distillation import AttentionDistillation, ContentTerm, Masks
from benchmarks import flops
from benchmarks.gpu_step import gradients
from benchmarks.subjects import Subject, drawn
from stylegallery.contract import Energy, Match, ignored
from stylegallery.extras.small_models import ExtrasConfig
from stylegallery.guidance import GuidanceConfig, Scene, optimise, optimise_together
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import Execution, minimise
from stylegallery.replay import WARM_UPS, Replayed
from stylegallery.segmentation import Segmentation
from stylegallery.shared_attention import SharedAttention

ATEN = torch.ops.aten
ASKING = {ATEN._local_scalar_dense, ATEN.lift_fresh, ATEN.nonzero, ATEN.masked_select, ATEN._unique2, ATEN.equal}
CPU = torch.device("cpu")
REPLAYED = Execution(grouped=False, replayed=True)


class Graph:
    """In place of `torch.cuda.CUDAGraph`."""

    made: list["Graph"]

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        self.made.append(self)

    def replay(self) -> None:
        self.replays += 1
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, outputs in self.operations:
                for kept, new in zip(tree_leaves(outputs), tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(kept, Tensor) and kept.data_ptr() != new.data_ptr():
                        kept.copy_(new)


class Capture(TorchDispatchMode):
    """In place of `torch.cuda.graph`: what changed in memory is as before when it ends."""

    def __init__(self, graph: Graph, stream: object = None) -> None:
        super().__init__()
        self.graph, self.before = graph, dict[int, tuple[Tensor, Tensor]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        masks = func.overloadpacket in (ATEN.index, ATEN.index_put, ATEN.index_put_)
        if func.overloadpacket in ASKING or (masks and any(i is not None and i.dtype == torch.bool for i in args[1])):
            raise RuntimeError(f"{func} waits for the device")
        for argument, given in zip(func._schema.arguments, args, strict=False):
            for tensor in tree_leaves(given) if argument.alias_info and argument.alias_info.is_write else ():
                self.before.setdefault(tensor.data_ptr(), (tensor, tensor.clone()))
        outputs = func(*args, **kwargs)
        self.graph.operations.append((func, args, kwargs, outputs))
        return outputs

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        with torch._C._AutoDispatchBelowAutograd():
            for tensor, value in self.before.values():
                tensor.copy_(value)


class Stream:
    def __init__(self, device: object) -> None:
        assert device == CPU

    def wait_stream(self, other: object) -> None:
        pass


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that a test captured."""
    Graph.made = []
    for name, other in {
        "CUDAGraph": Graph, "graph": Capture, "Stream": Stream, "current_stream": Stream, "stream": nullcontext
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, other)
    monkeypatch.setattr(import_module("torch.optim.adam"), "_get_capturable_supported_devices", lambda *_: ["cpu"])
    return Graph.made


@contextmanager
def no_capture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same arithmetic, every time called."""
    with monkeypatch.context() as patch:
        for name in ("optimisation", "fixed_attention"):
            patch.setattr(f"stylegallery.{name}.Replayed", lambda function, device: function)
        yield


# --- the replay ---


def test_a_function_is_called_four_times_and_then_replayed(graphs: list[Graph]) -> None:
    total, step, calls = torch.zeros(2), torch.ones(()), []

    def function() -> Tensor:
        calls.append(len(calls))
        total.add_(step)
        return total * 2 + len(calls)

    replayed = Replayed(function, CPU)
    found = []
    for number in range(8):
        step.fill_(number)
        found.append(replayed().tolist()[0])
    assert calls == list(range(WARM_UPS + 1)) and graphs[0].replays == 8 - WARM_UPS
    sums = [sum(range(number + 1)) for number in range(8)]
    assert found == [2 * total + min(number, WARM_UPS) + 1 for number, total in enumerate(sums)]
    assert total.tolist() == [28, 28]


@pytest.mark.parametrize("asks", [
    lambda x: x * float(x.sum()), lambda x: x + torch.tensor([1.0, 2.0]), lambda x: x[x > 0].sum(), torch.nonzero,
])  # fmt: skip
def test_what_cannot_be_captured_is_called_as_before_and_said(
    graphs: list[Graph], asks: Callable[[Tensor], Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    total, calls = torch.ones(2), []

    def function() -> Tensor:
        calls.append(1)
        total.add_(1)
        asks(total)
        return total.clone()

    replayed = Replayed(function, CPU)
    assert [replayed().tolist()[0] for _ in range(6)] == [2, 3, 4, 5, 6, 7]
    assert len(calls) == 7 and graphs[0].replays == 0
    assert "not replayed as a CUDA graph" in caplog.text and "waits for the device" in caplog.text


# --- updates ---


class Bowl:
    """Style (z - a)² with an `a` of the timestep, and content |z|."""

    def __init__(self) -> None:
        self.aim = torch.zeros(2, 1)

    def prepare(self, timestep: int) -> None:
        self.aim.copy_(torch.tensor([[timestep / 100], [timestep / 50]]))

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        return (latents - self.aim).square().sum(1), latents.abs().sum(1)


def test_replayed_updates_follow_timesteps_and_rates(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[tuple[Tensor, list[Energy]]]:
        timesteps, start = [90, 70, 50, 30, 10], torch.tensor([[1.0, -2.0], [3.0, 0.5]])
        return list(minimise(start, timesteps, 2, Bowl(), lambda step: 0.1 / (1 + step), 1.0, 0.5, replayed=True))

    replayed = run()
    with no_capture(monkeypatch):
        called = run()
    assert graphs[0].replays == 10 - WARM_UPS and len(called) == 10
    for (latents, energies), (expected, known) in zip(replayed, called, strict=True):
        assert torch.equal(latents, expected) and energies == known
    assert len({energy.energy for _, (energy, _) in called}) == 10


def test_an_energy_that_is_not_finite_is_seen_in_a_replay(graphs: list[Graph]) -> None:
    losses = Bowl()
    updates = minimise(torch.ones(2, 2), range(1, 9), 1, losses, lambda _: 0.1, 1.0, 0.5, replayed=True)
    for _ in range(6):
        next(updates)
    assert graphs[0].replays == 6 - WARM_UPS
    losses.prepare = lambda timestep: losses.aim[1].fill_(math.inf)  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="not finite at timestep 7"):
        next(updates)


# --- stage 3 ---


def analysed(seed: int, side: int) -> Segmentation:
    labels = torch.ones(side, side, dtype=torch.int64)
    labels[:, side // 2 :] = 2
    labels[side // 2 + 1 :, side // 2 + 1 :] = 3
    return Segmentation(labels, normal(seed, 1, 4, side, side), normal(seed + 1, 1, 4, side, side))


def scene(seed: int) -> Scene:
    matches = [Match(i, 1 + i % 2, 1 + i % 3, 0.0, 0.0, 0.0, 0.0, False) for i in (1, 2, 3)]
    return Scene(analysed(seed, 8), [analysed(seed + 2, 8), analysed(seed + 4, 12)], matches)


def same(first: Sequence[tuple[Tensor, list[Energy]]], second: Sequence[tuple[Tensor, list[Energy]]]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "outside_keys,normalise", [("excluded", "tokens"), ("zeroed", "tokens"), ("attended", "regions")]
)
def test_replays_of_stage_3_are_calls_to_the_byte(
    model: DiffusionModel, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch, outside_keys: str, normalise: str
) -> None:
    """Timesteps, features and rates change between updates; two scenes share the network's calls."""
    extras = configured(ExtrasConfig, normalise=normalise, final_learning_rate=0.001)
    config = configured(
        GuidanceConfig, steps=12, refresh=2, learning_rate=0.02, outside_keys=outside_keys, extras=extras
    )
    scenes = [scene(0), scene(20)]
    replayed = optimise_together(model, scenes, config, [ignored, ignored], execution=REPLAYED)
    with no_capture(monkeypatch):
        called = optimise_together(model, scenes, config, [ignored, ignored], execution=REPLAYED)
    assert same(replayed, called)
    assert [graph.replays for graph in graphs] == [12 - WARM_UPS, 6 - WARM_UPS]  # of updates and of features
    usual = optimise_together(model, scenes, config, [ignored, ignored])  # as a CPU does it, with another Adam
    for (latent, energies), (expected, known) in zip(replayed, usual, strict=True):
        assert [energy.energy for energy in energies] == pytest.approx([energy.energy for energy in known], rel=1e-3)
        assert (latent - expected).abs().mean() < 0.05 * config.learning_rate  # signs at rounding may differ


@pytest.mark.slow
def test_a_model_with_added_conditions_is_replayed_too(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    """SDXL's, which is told the size of the picture."""
    small = {"block_out_channels": (16, 32, 32), "norm_num_groups": 8, "attention_head_dim": 2}
    model = drawn("sdxl", CPU, torch.float32, **small, transformer_layers_per_block=1)
    config = configured(GuidanceConfig, steps=5, refresh=1)
    replayed = optimise(model, *scene(0), config, execution=REPLAYED)
    with no_capture(monkeypatch):
        called = optimise(model, *scene(0), config, execution=REPLAYED)
    assert same([replayed], [called]) and [graph.replays for graph in graphs] == [5 - WARM_UPS] * 2


@pytest.mark.slow
def test_replays_leave_alone_what_items_share(model: DiffusionModel, graphs: list[Graph]) -> None:
    config = configured(GuidanceConfig, steps=6, refresh=1, batched=False)
    shared = SharedAttention(model, 100)
    runs = [optimise(model, *scene(0), config, shared=each, execution=REPLAYED) for each in (None, shared, shared)]
    assert same(runs[:1] * 2, runs[1:]) and len(shared.kept) == 3 * 6
    assert len(graphs) == 2 + 1 + 1  # what is kept is not computed by replays


@pytest.mark.slow
def test_graphs_and_their_memory_go_with_the_run(model: DiffusionModel, graphs: list[Graph]) -> None:
    """Not only when Python looks for cycles, which knows nothing of a GPU's memory."""
    gc.disable()
    try:
        optimise(model, *scene(0), configured(GuidanceConfig, steps=5, refresh=1), execution=REPLAYED)
        kept = [weakref.ref(graph) for graph in graphs]
        graphs.clear()
        assert len(kept) == 2 and not any(each() for each in kept)
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize("content_term", ["query", "attention_map", "output"])
def test_replays_of_attention_distillation_are_calls_to_the_byte(
    model: DiffusionModel, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch, content_term: ContentTerm
) -> None:
    monkeypatch.setattr(Execution, "on", lambda device: REPLAYED)
    method = configured(
        AttentionDistillation, model, steps=6, resolution=64, resizing="square", content_term=content_term
    )
    start, style = normal(0, 1, 4, 8, 8), normal(1, 1, 4, 8, 12)
    replayed = list(method.optimise(start, start, [style]))
    with no_capture(monkeypatch):
        called = list(method.optimise(start, start, [style]))
    assert same(replayed, called) and [graph.replays for graph in graphs] == [len(called) - WARM_UPS] * 2
    masks = Masks(torch.ones(8, 8, dtype=torch.int64), [torch.ones(8, 12, dtype=torch.int64)])
    list(method.optimise(start, start, [style], masks))
    assert len(graphs) == 2  # labels are looked at in every update


class Strict(TorchDispatchMode):
    """Fails where a tensor is on the CPU; of the meta device nothing can be asked in any case."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, outputs)):
            assert not isinstance(tensor, Tensor) or tensor.device == flops.META, func
        return outputs


@pytest.mark.slow
def test_from_its_second_call_on_nothing_of_an_update_is_on_the_cpu(
    graphs: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device, where a copy between devices is seen, in place of the GPU."""
    checked = []

    def watched(function: Callable[[], Any], device: object) -> Callable[[], Any]:
        calls = []

        def call() -> Any:
            calls.append(1)
            with Strict() if len(calls) > 1 else flops.Answers():
                checked.extend([function] * (len(calls) > 1))
                return function()

        return call

    for name in ("optimisation", "fixed_attention"):
        monkeypatch.setattr(f"stylegallery.{name}.Replayed", watched)
    monkeypatch.setattr(import_module("torch.optim.adam"), "_get_capturable_supported_devices", lambda *_: ["meta"])
    with flops.Answers():
        one = flops.subject(drawn("sd1", flops.META, torch.float32, layers_per_block=1), 64, 2)
        config = configured(GuidanceConfig, steps=2, refresh=1, outside_keys="zeroed")
        optimise(*one, config, execution=REPLAYED)
    assert len(checked) == 2  # the second features and the second update


@pytest.mark.slow
def test_the_script_for_a_gpu_compares_gradients_of_replays(model: DiffusionModel, graphs: list[Graph]) -> None:
    one, config = Subject(model, *scene(0)), configured(GuidanceConfig, refresh=1)
    replayed, called = (gradients(one, config, way) for way in (REPLAYED, Execution()))
    assert len(replayed) == len(called) == WARM_UPS + 3 and len(graphs) == 2
    for gradient, expected in zip(replayed, called, strict=True):
        assert torch.equal(gradient, expected)
    assert not torch.equal(called[-1], called[-2])
