"""StyTr²: the published checkpoints' keys and shapes, the attention rules, and a run from files on disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from composing import build_method, configured
from conftest import Pictures, paint

from baselines.networks.stytr2 import DecoderLayer, EncoderLayer, Transformer
from baselines.stytr2 import Parts, StyTR2
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.images import read_image

# Read in diyiiyiii/StyTR-2, models/transformer.py (blob 372946320) and models/StyTR.py (blob 698009190); train.py
# saves the three state_dicts as they are.
ATTENTION = {
    "in_proj_weight": (1536, 512), "in_proj_bias": (1536,), "out_proj.weight": (512, 512), "out_proj.bias": (512,),
}  # fmt: skip
FEEDFORWARD = {
    "linear1.weight": (2048, 512), "linear1.bias": (2048,), "linear2.weight": (512, 2048), "linear2.bias": (512,),
}  # fmt: skip
CONVOLUTIONS = {1: (256, 512), 5: (256, 256), 8: (256, 256), 11: (256, 256), 14: (128, 256), 18: (128, 128),
                21: (64, 128), 25: (64, 64), 28: (3, 64)}  # fmt: skip


def norms(count: int) -> dict[str, tuple[int, ...]]:
    return {f"norm{i}.{kind}": (512,) for i in range(1, count + 1) for kind in ("weight", "bias")}


def below(prefix: str, table: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{key}": shape for key, shape in table.items()}


def published() -> dict[str, dict[str, tuple[int, ...]]]:
    """Key -> shape of the three files."""
    encoder = below("self_attn", ATTENTION) | FEEDFORWARD | norms(2)
    decoder = below("self_attn", ATTENTION) | below("multihead_attn", ATTENTION) | FEEDFORWARD | norms(3)
    transformer = {"decoder.norm.weight": (512,), "decoder.norm.bias": (512,)}
    transformer |= {"new_ps.weight": (512, 512, 1, 1), "new_ps.bias": (512,)}
    for number in range(3):
        transformer |= below(f"encoder_c.layers.{number}", encoder) | below(f"encoder_s.layers.{number}", encoder)
        transformer |= below(f"decoder.layers.{number}", decoder)
    pictures: dict[str, tuple[int, ...]] = {}
    for index, (after, before) in CONVOLUTIONS.items():
        pictures |= {f"{index}.weight": (after, before, 3, 3), f"{index}.bias": (after,)}
    return {
        "embedding": {"proj.weight": (512, 3, 8, 8), "proj.bias": (512,)},
        "transformer": transformer,
        "decoder": pictures,
    }


def test_keys_and_shapes_of_the_published_files() -> None:
    with torch.device("meta"):
        parts = Parts.build()
    built = {
        name: {key: tuple(value.shape) for key, value in module.state_dict().items()}
        for name, module in parts._asdict().items()
    }
    assert built == published()


def test_sizes_of_the_published_files() -> None:
    """31.79 M parameters; float32 bytes agree with the sizes of the files: 127 MB, 14 MB, 396 kB (a mirror's list)."""
    with torch.device("meta"):
        parts = Parts.build()
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in parts._asdict().items()}
    assert count["transformer"] == 31_790_080
    assert round(4 * count["transformer"] / 1e6) == 127
    assert round(4 * count["decoder"] / 1e6) == 14
    assert 0 <= 396_000 - 4 * count["embedding"] < 4_000  # the rest is the file's frame


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the published size in the published files' layout."""
    folder = tmp_path_factory.mktemp("stytr2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = Parts.build()
        for parameter in parts.decoder.parameters():  # the default would leave the picture almost black
            if parameter.dim() > 1:
                torch.nn.init.kaiming_normal_(parameter)
        for name, module in parts._asdict().items():
            torch.save(module.state_dict(), folder / f"{name}_iter_160000.pth")
    return folder


@pytest.fixture
def method(checkpoints: Path) -> StyTR2:
    return build_method("stytr2", f"method.path={checkpoints}", "method.resolution=64")


def stylised(method: StyTR2, item: Item) -> Any:
    return method.stylize(item, torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_run_from_files(method: StyTR2, checkpoints: Path, pictures: Pictures, tmp_path: Path) -> None:
    """End to end; A, B, A gives the same bytes; the second reference is not used and the first is."""
    a, b = (
        Item("a", pictures.content, (pictures.first, pictures.second)),
        Item("b", pictures.first, (pictures.content,)),
    )
    first = stylised(method, a)
    other = stylised(method, b)
    again = stylised(method, a)
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, other.image)
    assert first.image.shape == first.content.shape == first.references[0].shape == (1, 3, 64, 64)
    assert first.image.min() >= 0 and first.image.max() <= 1 and first.image.std() > 0.01
    assert len(first.references) == 1
    second = build_method("stytr2", f"method.path={checkpoints}", "method.resolution=64", "method.reference=2")
    assert torch.equal(stylised(second, a).image, stylised(method, Item("e", a.content, a.references[1:])).image)
    with pytest.raises(InputError, match="item b has 1 references, not 2"):
        stylised(second, b)
    assert torch.equal(stylised(method, Item("c", pictures.content, (pictures.first,))).image, first.image)
    swapped = Item("d", pictures.content, (paint(tmp_path / "other.png", 9), pictures.first))
    assert not torch.equal(stylised(method, swapped).image, first.image)


def test_preparation_is_short_side_then_centre_crop(method: StyTR2, tmp_path: Path) -> None:
    """A square of the working size is taken as it is; of a wide picture of that height, the middle."""
    square, wide = paint(tmp_path / "square.png", 1, (64, 64)), paint(tmp_path / "wide.png", 2, (96, 64))
    result = stylised(method, Item("a", wide, (square,)))
    assert torch.equal(result.references[0], read_image(square))
    assert torch.equal(result.content, read_image(wide)[..., 16:80])


def test_attention_layers_against_written_out_formulas() -> None:
    """Encoder and decoder layer against softmax(QKᵀ/√d)V written out with one head: positional code in queries and
    keys of the encoder, in queries of the decoder, never in values; both decoder attentions read the style."""

    def attend(
        weights: torch.nn.MultiheadAttention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> Any:
        (wq, wk, wv), (bq, bk, bv) = weights.in_proj_weight.chunk(3), weights.in_proj_bias.chunk(3)
        logits = (query @ wq.T + bq) @ (key @ wk.T + bk).transpose(1, 2) / 8**0.5
        return (logits.softmax(-1) @ (value @ wv.T + bv)) @ weights.out_proj.weight.T + weights.out_proj.bias

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        content, style, position = torch.randn(3, 2, 5, 8)
        encoder, decoder = EncoderLayer(8, 1, 16).eval(), DecoderLayer(8, 1, 16).eval()
        for name, parameter in [*encoder.named_parameters(), *decoder.named_parameters()]:
            if name.endswith("bias"):
                parameter.normal_()
        x = encoder.norm1(content + attend(encoder.self_attn, content + position, content + position, content))
        expected = encoder.norm2(x + encoder.linear2(encoder.linear1(x).relu()))
        torch.testing.assert_close(encoder(content, position), expected, atol=1e-5, rtol=1e-5)
        x = decoder.norm1(content + attend(decoder.self_attn, content + position, style, style))
        x = decoder.norm2(x + attend(decoder.multihead_attn, x + position, style, style))
        expected = decoder.norm3(x + decoder.linear2(decoder.linear1(x).relu()))
        torch.testing.assert_close(decoder(content, style, position), expected, atol=1e-5, rtol=1e-5)


def test_style_has_no_position() -> None:
    """The style's tokens in another order change nothing; the content's move the result."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        network = Transformer(width=16, heads=2, layers=2, feedforward=32).eval()
        content, style = torch.rand(2, 1, 16, 20, 20)
    with torch.no_grad():
        result = network(style, content)
        shuffled = style.flatten(2)[..., torch.randperm(400, generator=torch.Generator().manual_seed(0))]
        torch.testing.assert_close(network(shuffled.unflatten(2, (20, 20)), content), result, atol=1e-5, rtol=1e-5)
        assert (network(style, content.flip(-1)).flip(-1) - result).abs().max() < 1e-4  # a mirror commutes
        moved = content.roll(1, -1)
        assert (network(style, moved).roll(-1, -1) - result).abs().max() > 1e-3  # a shift does not: pooled code


@pytest.mark.slow
@pytest.mark.parametrize("name", ["embedding", "transformer", "decoder"])
def test_files_that_do_not_fit(checkpoints: Path, tmp_path: Path, name: str) -> None:
    for file in checkpoints.iterdir():
        (tmp_path / file.name).symlink_to(file)
    broken = tmp_path / f"{name}_iter_160000.pth"
    broken.unlink()
    with pytest.raises(InputError, match=rf"{broken.name} is missing; add it there, or pass another folder$"):
        configured(StyTR2, str(tmp_path), device="cpu")
    torch.save({"proj.weight": torch.zeros(1)}, broken)
    with pytest.raises(InputError, match=rf"{broken.name} does not fit"):
        configured(StyTR2, str(tmp_path), device="cpu")
    broken.write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"is damaged \(.*\); restore it, or pass another$"):
        configured(StyTR2, str(tmp_path), device="cpu")
    torch.save({"code": print}, broken)
    with pytest.raises(InputError, match=r"is damaged \(.*\); restore it, or pass another$"):
        configured(StyTR2, str(tmp_path), device="cpu")


def test_resolution_in_whole_patches(checkpoints: Path) -> None:
    with pytest.raises(InputError, match="resolution is a multiple of 8, at least 16, not 60"):
        configured(StyTR2, str(checkpoints), resolution=60, device="cpu")


def test_missing_weights() -> None:
    with pytest.raises(InputError, match="stytr2"):
        build_method("stytr2")
