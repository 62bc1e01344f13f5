"""Image encoders: the token grid, what they own (resize, normalisation), and missing models."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from composing import configured
from transformers import Dinov2Config, Dinov2Model

from stylegallery.encoders import DINOv2Encoder, EfficientNetEncoder
from stylegallery.errors import InputError


def image(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def efficientnet() -> EfficientNetEncoder:
    return EfficientNetEncoder("lite0", block=15, resolution=128)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (100, 70), (33, 32)])
def test_efficientnet_tokens_cover_the_picture(efficientnet: EfficientNetEncoder, size: tuple[int, int]) -> None:
    tokens = efficientnet(image(0, 2, 3, *size))
    height, width = (side * 128 / (size[0] * size[1]) ** 0.5 for side in size)  # 128² pixels, in whole tokens
    assert tokens.shape == (2, 320, *(max(4, round(side / 32)) for side in (height, width)))
    assert tokens.isfinite().all() and tokens.std() > 0


@pytest.mark.parametrize(
    "variant,block,channels,stride", [("lite0", 10, 112, 16), ("lite0", 15, 320, 32), ("lite1", 15, 192, 32),
                                      ("lite1", 20, 320, 32), ("lite2", 15, 208, 32)]
)  # fmt: skip
def test_efficientnet_blocks_and_resolution_set_channels_and_grid(
    variant: str, block: int, channels: int, stride: int
) -> None:
    tokens = configured(EfficientNetEncoder, variant, block=block, resolution=192)(image(0, 1, 3, 64, 64))
    assert tokens.shape == (1, channels, 192 // stride, 192 // stride)


@pytest.mark.parametrize("given", [{"block": 16}, {"block": -1}, {"variant": "lite9"}, {"resolution": 1}])
def test_efficientnet_refuses_what_it_has_not(given: dict[str, object]) -> None:
    with pytest.raises(InputError):
        configured(EfficientNetEncoder, **{"variant": "lite0", "block": 15, "resolution": 128, **given})


def test_a_result_of_another_size_has_the_same_tokens(efficientnet: EfficientNetEncoder) -> None:
    smooth = F.interpolate(image(5, 1, 3, 8, 8), (128, 128), mode="bicubic").clamp(0, 1)
    larger = F.interpolate(smooth, (384, 384), mode="bicubic").clamp(0, 1)
    alike = F.cosine_similarity(efficientnet(smooth).flatten(1), efficientnet(larger).flatten(1))
    assert alike > 0.98


@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0])
def test_efficientnet_on_grey_and_flat_pictures(efficientnet: EfficientNetEncoder, fill: float) -> None:
    grey = image(1, 1, 1, 96, 64).expand(-1, 3, -1, -1)
    assert efficientnet(grey).shape == (1, 320, 5, 4)
    assert efficientnet(torch.full((1, 3, 96, 64), fill)).isfinite().all()


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_efficientnet_sees_the_range_its_weights_were_trained_on(
    efficientnet: EfficientNetEncoder, level: float
) -> None:
    # TensorFlow's EfficientNet-Lite: bytes minus 127, over 128. ImageNet mean and deviation would be wrong here.
    seen: list[torch.Tensor] = []
    hook = efficientnet.network._conv_stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        efficientnet(torch.full((1, 3, 64, 64), level))
    finally:
        hook.remove()
    torch.testing.assert_close(seen[0], torch.full((1, 3, 128, 128), (level * 255 - 127) / 128), rtol=1e-4, atol=1e-4)


def test_efficientnet_is_deterministic_and_rows_do_not_mix(efficientnet: EfficientNetEncoder) -> None:
    images = image(2, 3, 3, 64, 64)
    together = efficientnet(images)
    assert torch.equal(efficientnet(images), together)
    torch.testing.assert_close(efficientnet(images[1:2]), together[1:2], rtol=1e-4, atol=1e-4)
    assert not together.requires_grad


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_efficientnet_tokens_lie_where_their_pixels_lie(corner: tuple[int, int]) -> None:
    # A change in one corner of the picture shows most in that corner of the grid.
    encoder = EfficientNetEncoder("lite0", block=10, resolution=160)
    plain = image(3, 1, 3, 160, 160)
    changed = plain.clone()
    rows, columns = (slice(128, 160) if side else slice(0, 32) for side in corner)
    changed[..., rows, columns] = 1 - changed[..., rows, columns] ** 3
    difference = (encoder(changed) - encoder(plain)).norm(dim=1)[0]
    quadrants = F.adaptive_avg_pool2d(difference[None], 2)[0]
    assert divmod(int(quadrants.argmax()), 2) == corner


def test_efficientnet_knows_what_a_picture_shows_better_than_noise(efficientnet: EfficientNetEncoder) -> None:
    # Trained weights and the right normalisation: brightness hardly matters, content does.
    rows = torch.linspace(0, 1, 128)[:, None].expand(128, 128)
    stripes = (torch.sin(rows * 60) * 0.5 + 0.5).expand(1, 3, 128, 128)
    checks = ((torch.sin(rows * 60) * torch.sin(rows.T * 60)) * 0.5 + 0.5).expand(1, 3, 128, 128)
    means = [efficientnet(picture).mean((2, 3))[0] for picture in (stripes, 0.8 * stripes + 0.1, checks)]
    assert torch.cosine_similarity(means[0], means[1], dim=0) > torch.cosine_similarity(means[0], means[2], dim=0)


# --- DINOv2 ---


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dinov2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Dinov2Config(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=56, patch_size=14, mlp_ratio=2
        )
        Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "size,grid", [((112, 112), (8, 8)), ((64, 64), (8, 8)), ((64, 128), (6, 11)), ((100, 25), (16, 4))]
)
def test_dinov2_tokens_are_the_models(dinov2: Path, size: tuple[int, int], grid: tuple[int, int]) -> None:
    encoder = configured(DINOv2Encoder, str(dinov2), resolution=112, device="cpu")
    images = image(4, 2, 3, *size)
    tokens = encoder(images)
    assert tokens.shape == (2, 24, *grid)
    network = Dinov2Model.from_pretrained(dinov2).eval()
    pixels = F.interpolate(images, [14 * side for side in grid], mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        hidden = network((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)).last_hidden_state
    for row in range(grid[0]):
        for column in range(grid[1]):
            # The first hidden state is the class token; the rest are patches row by row.
            expected = hidden[:, 1 + row * grid[1] + column]
            torch.testing.assert_close(tokens[:, :, row, column], expected, rtol=1e-4, atol=1e-5)


def test_dinov2_is_frozen(dinov2: Path) -> None:
    encoder = configured(DINOv2Encoder, str(dinov2), resolution=56, device="cpu")
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder(image(5, 1, 3, 56, 56)).requires_grad


def test_a_model_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check the path"):
        configured(DINOv2Encoder, str(tmp_path / "no-such-model"))


def test_a_folder_that_is_no_model_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        configured(DINOv2Encoder, str(tmp_path), device="cpu")
