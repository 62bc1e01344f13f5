"""StyleShot: keys and shapes of its files, the patches, the style tokens' way, and a run from files on disk."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from composing import build_method, compose_config, configured
from conftest import Pictures, paint
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers_parts import cross_attention_shapes, shake
from torch import Tensor, nn

from baselines.conditions import Contour, Lineart
from baselines.networks.annotators import HolisticEdges, LineDrawing
from baselines.networks.style_encoder import StyleAwareEncoder, cut_patches
from baselines.styleshot import StyleProjection, install_adapter
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.images import read_image, to_pixels

Shapes = dict[str, tuple[int, ...]]


def shapes_of(module: nn.Module) -> Shapes:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def layer(name: str, *weight: int, bias: bool = True) -> Shapes:
    """Weight and bias of a linear, convolution or norm."""
    return {f"{name}.weight": weight} | ({f"{name}.bias": weight[:1]} if bias else {})


# --- keys and shapes, read in open-mmlab/StyleShot ---


def published_encoder() -> Shapes:
    """ip_adapter/style_encoder.py (blob 4042505002); the vision model is CLIP ViT-H/14 of
    laion/CLIP-ViT-H-14-laion2B-s32B-b79K in transformers' names."""
    shapes: Shapes = {f"style_embeddings.{i}": (1280,) for i in range(3)}
    shapes |= layer("position_embedding", 59, 1280, bias=False)
    widths = [
        [320, 320, 640, 640, 640, 1280, 1280],  # 128 px: into and out of its six blocks
        [320, 320, 640, 640, 1280, 1280],
        [320, 320, 640, 1280, 1280],
    ]
    for i, path in enumerate(widths):
        shapes |= layer(f"cnn.{i}.conv_in", 320, 192, 3, 3) | layer(f"cnn.{i}.adapter", 1280, 1280)
        for j in range(len(path) - 1):
            before, after = path[j], path[j + 1]
            if before != after:
                shapes |= layer(f"cnn.{i}.body.{j}.in_conv", after, before, 1, 1)
            shapes |= layer(f"cnn.{i}.body.{j}.block1", after, after, 3, 3)
            shapes |= layer(f"cnn.{i}.body.{j}.block2", after, after, 1, 1)
    vision = "image_encoder.vision_model"
    shapes |= {f"{vision}.embeddings.class_embedding": (1280,)}
    shapes |= layer(f"{vision}.embeddings.patch_embedding", 1280, 3, 14, 14, bias=False)
    shapes |= layer(f"{vision}.embeddings.position_embedding", 257, 1280, bias=False)
    shapes |= layer(f"{vision}.pre_layrnorm", 1280) | layer(f"{vision}.post_layernorm", 1280)
    for i in range(32):
        block = f"{vision}.encoder.layers.{i}"
        for name in "kvq":
            shapes |= layer(f"{block}.self_attn.{name}_proj", 1280, 1280)
        shapes |= layer(f"{block}.self_attn.out_proj", 1280, 1280)
        shapes |= layer(f"{block}.layer_norm1", 1280) | layer(f"{block}.layer_norm2", 1280)
        shapes |= layer(f"{block}.mlp.fc1", 5120, 1280) | layer(f"{block}.mlp.fc2", 1280, 5120)
    return shapes | layer("image_encoder.visual_projection", 1024, 1280, bias=False)


def test_style_encoder_at_the_published_size() -> None:
    """Keys, shapes and what follows for the file's size: 3.07 GB in float32 (an older revision), 1.81 GB with the
    frozen CLIP in half precision (the current one)."""
    with torch.device("meta"):
        encoder = StyleAwareEncoder()
    assert shapes_of(encoder) == published_encoder()
    assert encoder.image_encoder.config.num_attention_heads == 16
    total, frozen = (sum(p.numel() for p in module.parameters()) for module in (encoder, encoder.image_encoder))
    assert round(4 * total / 1e9, 2) == 3.07
    assert round((4 * (total - frozen) + 2 * frozen) / 1e9, 2) == 1.81


def test_groups_of_ip_bin_at_the_published_size() -> None:
    """`style_image_proj_modules` and `adapter_modules` of ip_adapter/ip_adapter.py (blob 4418225055) on Stable
    Diffusion 1.5; `controlnet` is a diffusers ControlNet made from its UNet."""
    with torch.device("meta"):
        projections = nn.ModuleList(StyleProjection(1024, 768) for _ in range(3))
        unet = UNet2DConditionModel(cross_attention_dim=768, block_out_channels=(320, 640, 1280, 1280))
        before = shapes_of(unet)
    expected: Shapes = {}
    for i in range(3):
        expected |= layer(f"{i}.proj", 1536, 1024) | layer(f"{i}.norm", 768)
    assert shapes_of(projections) == expected

    widths = [320] * 2 + [640] * 2 + [1280] * 2 + [1280] * 3 + [640] * 3 + [320] * 3 + [1280]  # down, up, middle
    adapters = {
        f"{2 * i + 1}.to_{kind}_ip.weight": torch.zeros(1).expand(width, 768)
        for i, width in enumerate(widths)
        for kind in "kv"
    }
    assert len(adapters) == 32 and "31.to_k_ip.weight" in adapters
    with torch.device("meta"):
        controlnet = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    without = sum(p.numel() for module in (unet, projections) for p in module.parameters())
    without += sum(tensor.numel() for tensor in adapters.values())
    assert round(4 * without / 1e9, 2) == 3.53  # an older revision of the file, in float32
    assert round(4 * (without + sum(p.numel() for p in controlnet.parameters())) / 1e9, 2) == 4.98  # the current one
    install_adapter(unet, adapters, Path("ip.bin"), "styleshot")
    added = {key: shape for key, shape in shapes_of(unet).items() if key not in before}
    assert sorted(added.values()) == sorted((width, 768) for width in widths for _ in "kv")
    assert added["mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_k_ip.0.weight"] == (1280, 768)
    del adapters["31.to_k_ip.weight"]
    with torch.device("meta"):
        other = UNet2DConditionModel(cross_attention_dim=768, block_out_channels=(320, 640, 1280, 1280))
    with pytest.raises(InputError, match=r"ip.bin does not fit .*Missing key.*31\.to_k_ip"):
        install_adapter(other, adapters, Path("ip.bin"), "styleshot")


def test_annotators_at_the_published_size() -> None:
    """annotator/hed/__init__.py (blob 4200303770) and annotator/lineart/__init__.py (blob 4465589999)."""
    expected: Shapes = {"norm": (1, 3, 1, 1)}
    for i, (before, after, count) in enumerate(
        [(3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3)], 1
    ):
        for j in range(count):
            expected |= layer(f"block{i}.convs.{j}", after, after if j else before, 3, 3)
        expected |= layer(f"block{i}.projection", 1, after, 1, 1)
    lines = layer("model0.1", 64, 3, 7, 7) | layer("model4.1", 1, 64, 7, 7)
    lines |= layer("model1.0", 128, 64, 3, 3) | layer("model1.3", 256, 128, 3, 3)
    for i in range(3):
        lines |= layer(f"model2.{i}.conv_block.1", 256, 256, 3, 3) | layer(f"model2.{i}.conv_block.5", 256, 256, 3, 3)
    lines |= {"model3.0.weight": (256, 128, 3, 3), "model3.0.bias": (128,)}
    lines |= {"model3.3.weight": (128, 64, 3, 3), "model3.3.bias": (64,)}
    with torch.device("meta"):
        assert shapes_of(HolisticEdges()) == expected
        assert shapes_of(LineDrawing()) == lines


# --- patches ---


def test_patches_tile_the_picture() -> None:
    """8, 16 and 32 patches cover seven eighths of the pixels, each once: half of every quarter, half of the rest, half
    of that. Values are pixel numbers."""
    pixels = torch.arange(512 * 512, dtype=torch.float64).reshape(1, 1, 512, 512)
    coarse, middle, fine = cut_patches(pixels)
    assert (coarse.shape, middle.shape, fine.shape) == ((8, 1, 128, 128), (16, 1, 64, 64), (32, 1, 32, 32))
    seen = torch.cat([group.flatten() for group in (coarse, middle, fine)])
    assert len(seen.unique()) == len(seen) == 512 * 512 * 7 // 8
    corners = [divmod(int(patch[0, 0, 0]), 512) for patch in coarse]
    assert corners == [
        (0, 0), (128, 128), (256, 0), (384, 128), (0, 256), (128, 384), (256, 256), (384, 384)
    ]  # fmt: skip
    assert [divmod(int(patch[0, 0, 0]), 512) for patch in middle[:4]] == [(128, 0), (192, 64), (0, 128), (64, 192)]
    assert [divmod(int(patch[0, 0, 0]), 512) for patch in fine[:2]] == [(192, 0), (224, 32)]


def test_one_token_per_patch_and_class_tokens_at_0_9_26() -> None:
    """The embeddings are the transformer's outputs at the class tokens, after norm and projection."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        encoder = StyleAwareEncoder(width=80, layers=1, projection=8).eval()
        patches = [torch.randn(n, 3, side, side) for side, n in ((128, 8), (64, 16), (32, 32))]
        states: list[Tensor] = []
        vision = encoder.image_encoder.vision_model
        vision.encoder.register_forward_hook(lambda module, inputs, output: states.append(output.last_hidden_state))
        result = encoder(patches)
        assert states[0].shape == (1, 59, 80)
        expected = encoder.image_encoder.visual_projection(vision.post_layernorm(states[0][:, [0, 9, 26]]))
    assert result.shape == (1, 3, 8)
    torch.testing.assert_close(result, expected)


# --- conditions ---


@pytest.fixture(scope="module")
def annotators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random detectors of the published size; the contour's logits are spread so that some pass the threshold."""
    folder = tmp_path_factory.mktemp("annotators")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        edges, lines = HolisticEdges(), LineDrawing()
    for i in range(1, 6):
        nn.init.constant_(edges.get_submodule(f"block{i}").projection.bias, 1.0)
    shake(edges.block1.projection, 1, 1.0)
    torch.save(edges.state_dict(), folder / "ControlNetHED.pth")
    torch.save(lines.state_dict(), folder / "sk_model.pth")
    return folder


def test_contour_is_thresholded_and_dilated(annotators: Path, pictures: Pictures) -> None:
    """As OpenCV does it from the same edge map: byte above 200, dilated by a 3 x 3 kernel."""
    image, contour = read_image(pictures.content), configured(Contour, str(annotators), "cpu")
    with torch.no_grad():
        edges = contour.network((image * 255).round())[0, 0].numpy()
    strong = np.where((edges * 255).astype(np.uint8) > 200, 255, 0).astype(np.uint8)
    assert 0.02 < (strong > 0).mean() < 0.98
    expected = cv2.dilate(strong, np.ones((3, 3), np.uint8))
    assert np.array_equal(to_pixels(contour(image)), np.repeat(expected[..., None], 3, 2))


def test_edges_are_the_sigmoid_of_the_mean_of_five_maps() -> None:
    """Constant logits 1, 2, 3, 4, 5 give sigmoid(3) everywhere; the input mean is subtracted."""
    network = HolisticEdges()
    with torch.no_grad():
        for i in range(1, 6):
            projection: Any = network.get_submodule(f"block{i}").projection
            projection.weight.zero_()
            projection.bias.fill_(i)
        result = network(torch.rand(1, 3, 40, 36) * 255)
    torch.testing.assert_close(result, torch.full((1, 1, 40, 36), 3.0).sigmoid())
    with torch.no_grad():
        network.norm += 255
        first = network.block1(torch.zeros(1, 3, 8, 8))[0]
        caught: list[Tensor] = []
        network.block1.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
        network(torch.full((1, 3, 32, 32), 255.0))
    assert first.shape == (1, 64, 8, 8) and caught[0].abs().max() == 0


def test_lineart_is_grey_in_bytes(annotators: Path, pictures: Pictures) -> None:
    image = read_image(pictures.content)
    lines = configured(Lineart, str(annotators), "cpu")(image)
    assert lines.shape == image.shape and lines.std() > 0
    assert torch.equal(lines[:, 0], lines[:, 2])
    torch.testing.assert_close(lines * 255, (lines * 255).round(), atol=1e-4, rtol=0)


# --- a run from files ---

WIDTH, EMBEDDING = 80, 8


@pytest.fixture(scope="module")
def repository(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two published files for the tiny model; ip.bin also holds a UNet, as published."""
    folder = tmp_path_factory.mktemp("styleshot") / "pretrained_weight"
    folder.mkdir()
    unet = UNet2DConditionModel.from_pretrained(tiny_model / "unet")
    text_width = unet.config["cross_attention_dim"]
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = StyleAwareEncoder(WIDTH, 1, EMBEDDING)
        projections = nn.ModuleList(StyleProjection(EMBEDDING, text_width) for _ in range(3))
    torch.save(encoder.state_dict(), folder / "style_aware_encoder.bin")
    state = {"unet.conv_in.weight": torch.zeros(1)}
    state |= {f"controlnet.{k}": v for k, v in shake(ControlNetModel.from_unet(unet), 1).state_dict().items()}
    state |= {f"style_image_proj_modules.{k}": v for k, v in shake(projections, 2).state_dict().items()}
    for number, shape in cross_attention_shapes(tiny_model).items():
        for kind in "kv":
            name = f"adapter_modules.{number}.to_{kind}_ip.weight"
            state[name] = torch.randn(shape, generator=generator)
    torch.save(state, folder / "ip.bin")
    return folder.parent


@pytest.fixture(scope="module")
def overrides(tiny_model: Path, repository: Path, annotators: Path) -> list[str]:
    return [
        f"method.base={tiny_model}",
        f"method.path={repository}",
        f"method.condition.path={annotators}",
        "resizing=square",
        "method.resolution=64",
        "method.steps=2",
        f"+method.encoder_width={WIDTH}",
        "+method.encoder_layers=1",
        f"+method.embedding={EMBEDDING}",
    ]


@pytest.fixture(scope="module")
def method(overrides: list[str]) -> Any:
    return build_method("styleshot", *overrides)


def stylised(method: Any, item: Item, seed: int = 0) -> Tensor:
    return method.stylize(item, torch.Generator().manual_seed(seed)).image


@pytest.mark.slow
def test_run_from_files(method: Any, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """End to end; A, B, A gives the same bytes whatever the global generator; one reference counts."""
    a = Item("a", pictures.content, (pictures.first, pictures.second))
    first = stylised(method, a)
    other_reference = stylised(method, Item("b", pictures.content, (pictures.second,)))
    other_content = stylised(method, Item("c", pictures.second, (pictures.first,)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(stylised(method, a), first)
    assert torch.equal(stylised(method, Item("d", pictures.content, (pictures.first,))), first)
    assert first.shape == (1, 3, 64, 64)
    assert first.min() >= 0 and first.max() <= 1 and first.std() > 0.01
    for other in (other_reference, other_content, stylised(method, a, seed=1)):
        assert not torch.equal(other, first)
    monkeypatch.setattr(method, "reference", 2)
    assert torch.equal(stylised(method, a), other_reference)
    with pytest.raises(InputError, match="item b has 1 references, not 2"):
        stylised(method, Item("b", pictures.content, (pictures.second,)))


@pytest.mark.slow
def test_lineart_checkpoint(overrides: list[str], pictures: Pictures) -> None:
    """The second config differs from the first in its files and its detector alone."""
    first, second = (compose_config(name).method for name in ("styleshot", "styleshot_lineart"))
    assert {key for key in first if first[key] != second[key]} == {"path", "condition"}
    lineart = build_method("styleshot_lineart", *overrides)
    assert isinstance(lineart.condition, Lineart)
    assert stylised(lineart, Item("a", pictures.content, (pictures.first,))).isfinite().all()


def test_style_is_cropped_from_the_picture_as_it_is(
    method: Any, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from one that is squashed to a square."""
    shapes, encode = [], method.style_tokens

    def spy(picture: Tensor, generator: torch.Generator) -> Tensor:
        shapes.append(tuple(picture.shape[-2:]))
        return encode(picture, generator)

    monkeypatch.setattr(method, "style_tokens", spy)
    stylised(method, Item("a", pictures.content, (pictures.second,)))
    assert shapes == [(64, 72)]


def test_where_the_style_tokens_go(method: Any, pictures: Pictures) -> None:
    """The ControlNet sees the style tokens instead of text, the UNet both; negative tokens are those of zeros."""
    seen: dict[str, Any] = {}
    pipeline = method.pipeline

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            seen[name] = kwargs

        return hook

    handles = [
        pipeline.unet.register_forward_pre_hook(watch("unet"), with_kwargs=True),
        pipeline.controlnet.mid_block.register_forward_pre_hook(watch("controlnet"), with_kwargs=True),
    ]
    try:
        stylised(method, Item("a", pictures.content, (pictures.first,)))
    finally:
        for handle in handles:
            handle.remove()
    tokens = method.style_tokens(read_image(pictures.first), torch.Generator().manual_seed(0))
    assert tokens.shape == (2, 6, 16)
    assert torch.equal(seen["controlnet"]["encoder_hidden_states"], tokens)
    assert torch.equal(seen["unet"]["added_cond_kwargs"]["image_embeds"][0][:, 0], tokens)
    assert seen["unet"]["encoder_hidden_states"].shape == (2, 4, 16)
    zeros = torch.cat([project(torch.zeros(1, EMBEDDING)) for project in method.projections], 1)
    torch.testing.assert_close(tokens[:1], zeros)
    assert not pipeline.controlnet._forward_pre_hooks


def test_order_of_patches_matters(method: Any, pictures: Pictures) -> None:
    """Positions follow the shuffled order, so the generator decides the style tokens, not the negative ones."""
    reference = read_image(pictures.first)
    first, second = (method.style_tokens(reference, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])


@pytest.mark.slow
def test_surplus_keys(overrides: list[str], repository: Path, tmp_path: Path) -> None:
    """Files saved with an older transformers also hold `position_ids`; any other surplus key is refused."""
    folder = tmp_path / "pretrained_weight"
    folder.mkdir()
    (folder / "ip.bin").symlink_to(repository / "pretrained_weight/ip.bin")
    state = torch.load(repository / "pretrained_weight/style_aware_encoder.bin", weights_only=True)
    state["image_encoder.vision_model.embeddings.position_ids"] = torch.arange(257)[None]
    torch.save(state, folder / "style_aware_encoder.bin")
    build_method("styleshot", *overrides, f"method.path={tmp_path}")
    torch.save(state | {"surplus": torch.zeros(1)}, folder / "style_aware_encoder.bin")
    with pytest.raises(InputError, match=r"style_aware_encoder.bin does not fit StyleAware.*surplus.*or restore it"):
        build_method("styleshot", *overrides, f"method.path={tmp_path}")
    (folder / "style_aware_encoder.bin").unlink()
    with pytest.raises(InputError, match=r"style_aware_encoder.bin is missing; add it there"):
        build_method("styleshot", *overrides, f"method.path={tmp_path}")


def test_missing_weights(overrides: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ip.bin is missing; add it there, or pass another folder$"):
        build_method("styleshot", *overrides, f"method.path={tmp_path}")
    with pytest.raises(InputError, match=r"ControlNetHED.pth is missing; add it there"):
        build_method("styleshot", *overrides, f"method.condition.path={tmp_path}")
    with pytest.raises(InputError, match=r"method\.guidance_scale is 1; it should be greater than 1"):
        build_method("styleshot", *overrides, "method.guidance_scale=1")


def test_preparation_of_the_reference(method: Any, tmp_path: Path) -> None:
    """Of a wide picture the middle square is the style: painting over the rest changes no token."""
    wide = read_image(paint(tmp_path / "wide.png", 4, (96, 64)))
    painted = wide.clone()
    painted[..., :8] = 0
    painted[..., -8:] = 1
    tokens = [method.style_tokens(image, torch.Generator().manual_seed(0)) for image in (wide, painted)]
    torch.testing.assert_close(tokens[0], tokens[1], atol=1e-4, rtol=1e-4)
    painted[..., 40:56] = 0
    changed = method.style_tokens(painted, torch.Generator().manual_seed(0))
    assert (changed - tokens[0]).abs().max() > 1e-3
