"""Style targets from one call of attention for all regions against a call for each."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from composing import configured
from conftest import normal
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn.attention import SDPBackend
from torch.utils._python_dispatch import TorchDispatchMode

from stylegallery.contract import Match
from stylegallery.extras.small_models import ExtrasConfig
from stylegallery.grouped_attention import grouped_target
from stylegallery.guidance import GuidanceConfig, optimise, regional_style_loss, style_target
from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import Execution
from stylegallery.segmentation import Segmentation

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # on a CPU alone
OUTSIDE = ["excluded", "zeroed", "attended"]


def layer(seed: int, tokens: int, dtype: torch.dtype = torch.float64) -> SelfAttention:
    draw = torch.Generator().manual_seed(seed)
    return SelfAttention(*(torch.randn(1, 2, tokens, 8, generator=draw, dtype=dtype) for _ in range(4)))


def labelled(seed: int, side: int, regions: int) -> Segmentation:
    """Regions of single cells up to large ones, on a grid (side, side); all of them are there."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.arange(regions, 0, -1.0), side * side, True, generator=draw) + 1
    labels[:regions] = torch.arange(1, regions + 1)
    return Segmentation(labels.reshape(side, side), normal(seed, 1, 4, side, side), normal(seed + 1, 1, 4, side, side))


def pairs(*numbers: tuple[int, int, int]) -> list[Match]:
    return [Match(*three, 0.0, 0.0, 0.0, 0.0, False) for three in numbers]


@pytest.mark.parametrize("outside_keys", OUTSIDE)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5])
def test_targets_are_those_of_a_call_for_each_region(outside_keys: Any, scale: float) -> None:
    query, first, second = layer(0, 30).query, layer(1, 24), layer(2, 40)
    regions = [torch.arange(0, 1), torch.arange(1, 12), torch.arange(12, 30)]
    styles = [(second, torch.arange(5, 40)), (first, torch.arange(24)), (second, torch.tensor([3]))]
    found = grouped_target(query, regions, styles, scale, outside_keys).split([1, 11, 18], 2)
    for target, inside, style in zip(found, regions, styles, strict=True):
        expected = style_target(query[:, :, inside], *style, scale, outside_keys)
        torch.testing.assert_close(target, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("outside_keys", OUTSIDE)
@pytest.mark.parametrize("normalise", ["tokens", "regions"])
def test_losses_and_gradients_are_those_of_a_call_for_each_region(outside_keys: str, normalise: str) -> None:
    """Layers on the grid of the labels and on a coarser one, where regions of a cell have no token; reference 2 has no
    match."""
    content, references = labelled(0, 8, 5), [labelled(i, 8, 4) for i in (1, 2, 3)]
    references[2].labels[1, 1] = 5
    content.labels[1, 3] = 6
    layers = [layer(10, 64), layer(11, 16)]
    styles = {number: [layer(20 + number, 64), layer(30 + number, 16)] for number in (1, 3)}
    matches = pairs((1, 1, 1), (2, 3, 2), (3, 3, 5), (4, 1, 3), (6, 3, 1))
    config = configured(GuidanceConfig, outside_keys=outside_keys, extras=configured(ExtrasConfig, normalise=normalise))
    found = []
    for grouped in (False, True):
        outputs = [one.output.clone().requires_grad_() for one in layers]
        attention = [one._replace(output=output) for one, output in zip(layers, outputs, strict=True)]
        loss = regional_style_loss(attention, styles, content, references, matches, config, grouped)
        found.append((loss, *torch.autograd.grad(loss, outputs)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-14)
    assert found[0][0] > 0 and all((gradient != 0).any() for gradient in found[0][1:])


def test_no_region_with_tokens_is_no_style() -> None:
    content = labelled(0, 8, 3)
    content.labels[1, 1] = 4
    one = {1: [layer(1, 16)]}
    assert (
        regional_style_loss([layer(0, 16)], one, content, [content], pairs((4, 1, 1)), configured(GuidanceConfig), True)
        == 0
    )


@pytest.mark.slow
def test_stage_3_with_grouped_targets_is_stage_3(model: DiffusionModel) -> None:
    content, references = labelled(0, 8, 3), [labelled(10, 8, 3), labelled(20, 12, 3)]
    config = configured(GuidanceConfig, steps=6, refresh=2, learning_rate=0.02)
    matches = pairs((1, 1, 1), (2, 2, 3), (3, 1, 2))
    (latent, energies), (expected, known) = (
        optimise(model, content, references, matches, config, execution=Execution(grouped, False))
        for grouped in (True, False)
    )
    assert [energy.energy for energy in energies] == pytest.approx([energy.energy for energy in known], rel=1e-3)
    assert (latent - expected).abs().mean() < 0.05 * config.learning_rate  # signs at rounding may differ


class OnTheDevice(TorchDispatchMode):
    """Fails where a tensor comes from the CPU; keeps the names of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        assert func is not torch.ops.aten.lift_fresh.default
        given = [each for each in args if isinstance(each, Tensor) and each.numel()]
        assert all(each.device.type != "cpu" for each in given), func
        return func(*args, **(kwargs or {}))


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors of a GPU without values, which fail where a value is asked for, and its choice of the kernel."""
    monkeypatch.setattr("torch.nested._internal.sdpa._select_sdp_backend", lambda *_: SDPBackend.EFFICIENT_ATTENTION)
    with FakeTensorMode(shape_env=ShapeEnv()):
        yield


@pytest.mark.parametrize("outside_keys", OUTSIDE)
@pytest.mark.usefixtures("fake_gpu")
def test_a_gpu_makes_one_call_that_asks_nothing_of_it(outside_keys: Any) -> None:
    one = SelfAttention(*(torch.empty(1, 8, 64, 40, device="cuda") for _ in range(4)))
    regions = [torch.empty(count, dtype=torch.int64, device="cuda") for count in (10, 54)]
    with OnTheDevice() as operations:
        found = grouped_target(one.query, regions, [(one, regions[1]), (one, regions[0])], 1.5, outside_keys)
    assert found.shape == (1, 8, 64, 40) and found.device.type == "cuda"
    assert operations.names.count("_efficient_attention_forward") == 1
