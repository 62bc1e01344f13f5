"""StyleShot's style-aware encoder (arXiv 2407.01414 §3.2): patches of three sizes become three style embeddings.

Names of parameters are those of style_aware_encoder.bin (open-mmlab/StyleShot at 0134435, ip_adapter/style_encoder.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

RESOLUTION = 512
PATCHES = {128: 8, 64: 16, 32: 32}  # side in pixels -> number of patches
HEAD_WIDTH = 80


class ResidualBlock(nn.Module):
    """Optional 2 x 2 mean pooling and change of width, then x + convolution(ReLU(convolution(x)))."""

    def __init__(self, before: int, after: int, pool: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2) if pool else nn.Identity()
        self.in_conv = nn.Conv2d(before, after, 1) if before != after else None
        self.block1, self.block2 = nn.Conv2d(after, after, 3, padding=1), nn.Conv2d(after, after, 1)

    def forward(self, features: Tensor) -> Tensor:
        features = self.pool(features)
        if self.in_conv is not None:
            features = self.in_conv(features)
        return features + self.block2(self.block1(features).relu())


class PatchNetwork(nn.Module):
    """Square patches (N, 3, S, S) -> tokens (N, width): as many poolings as lead from S / 8 to two cells a side."""

    def __init__(self, side: int, width: int = 1280) -> None:
        super().__init__()
        quarter, half = width // 4, width // 2
        widths = {
            128: [(quarter, half), (half, half), (half, half), (half, width)],
            64: [(quarter, half), (half, half), (half, width)],
            32: [(quarter, half), (half, width)],
        }[side]
        first, *pooled = widths
        self.unshuffle = nn.PixelUnshuffle(8)
        self.conv_in = nn.Conv2d(3 * 64, quarter, 3, padding=1)
        self.body = nn.Sequential(
            ResidualBlock(quarter, quarter, pool=False),
            ResidualBlock(*first, pool=False),
            *(ResidualBlock(before, after, pool=True) for before, after in pooled),
            ResidualBlock(width, width, pool=False),
        )
        self.pool = nn.AvgPool2d(2)
        self.adapter = nn.Linear(width, width)

    def forward(self, patches: Tensor) -> Tensor:
        return self.adapter(self.pool(self.body(self.conv_in(self.unshuffle(patches)))).flatten(1))


class StyleAwareEncoder(nn.Module):
    """Patches by size -> three embeddings (1, 3, projection), from coarse to fine.

    A class token and the patch tokens of every size pass through the transformer of CLIP ViT-H/14 (built without
    CLIP's weights, which the checkpoint replaces; its own patch embedding is in the checkpoint but not used).
    """

    def __init__(self, width: int = 1280, layers: int = 32, projection: int = 1024) -> None:
        super().__init__()
        config = CLIPVisionConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, projection_dim=projection,
            num_attention_heads=width // HEAD_WIDTH, patch_size=14, image_size=224, hidden_act="gelu",
        )  # fmt: skip
        self.image_encoder = CLIPVisionModelWithProjection(config)
        self.cnn = nn.ModuleList(PatchNetwork(side, width) for side in PATCHES)
        self.style_embeddings = nn.ParameterList(nn.Parameter(torch.randn(width)) for _ in PATCHES)
        self.position_embedding = nn.Embedding(sum(PATCHES.values()) + len(PATCHES), width)

    def forward(self, patches: Sequence[Tensor]) -> Tensor:
        tokens: list[Tensor] = []
        places: list[int] = []
        for class_token, network, batch in zip(self.style_embeddings, self.cnn, patches, strict=True):
            places.append(sum(map(len, tokens)))
            tokens.append(torch.cat([class_token[None], network(batch)]))
        vision = self.image_encoder.vision_model
        sequence = vision.pre_layrnorm(torch.cat(tokens) + self.position_embedding.weight)[None]
        states = vision.encoder(inputs_embeds=sequence).last_hidden_state[:, places]
        return self.image_encoder.visual_projection(vision.post_layernorm(states))


def cut_patches(picture: Tensor) -> list[Tensor]:
    """(1, 3, 512, 512) -> patches (8, 3, 128, 128), (16, 3, 64, 64), (32, 3, 32, 32), which share no pixel.

    Every quarter of the picture is halved again: of its quarters, upper left and lower right are patches, lower left
    and upper right are halved in turn, and so on; an eighth of the picture is left out.
    """

    def quarters(square: Tensor) -> list[Tensor]:
        """Upper left, lower left, upper right, lower right."""
        side = square.shape[-1] // 2
        return [square[..., y : y + side, x : x + side] for x in (0, side) for y in (0, side)]

    squares, patches = quarters(picture), []
    for _ in PATCHES:
        divided = [quarters(square) for square in squares]
        patches.append(torch.cat([part for four in divided for part in (four[0], four[3])]))
        squares = [part for four in divided for part in (four[1], four[2])]
    return patches
