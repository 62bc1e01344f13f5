"""The network of StyTr² (Deng et al., CVPR 2022, arXiv 2105.14576 §3): patches in, two encoders, one decoder, a CNN.

Names of parameters are those of the published checkpoints (diyiiyiii/StyTR-2, c11ea32: models/transformer.py,
models/StyTR.py).
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 8  # pixels on a side
POOLED = 18  # cells on a side that the content-aware positional code is computed on


class PatchEmbedding(nn.Module):
    """Pictures (B, 3, H, W) -> one `width`-dimensional token per 8 x 8 patch, (B, width, H / 8, W / 8)."""

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images)


class EncoderLayer(nn.Module):
    """Post-norm self-attention layer; the positional code joins queries and keys, not values."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, tokens: Tensor, position: Tensor | None) -> Tensor:
        query = tokens if position is None else tokens + position
        tokens = self.norm1(tokens + self.self_attn(query, query, tokens, need_weights=False)[0])
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens))))


class DecoderLayer(nn.Module):
    """Two attentions of the content to the style; the first is called `self_attn` but takes the style's keys too."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, content: Tensor, style: Tensor, position: Tensor) -> Tensor:
        content = self.norm1(content + self.self_attn(content + position, style, style, need_weights=False)[0])
        content = self.norm2(content + self.multihead_attn(content + position, style, style, need_weights=False)[0])
        return self.norm3(content + self.linear2(F.relu(self.linear1(content))))


class Encoder(nn.Module):
    """Self-attention layers one after the other."""

    def __init__(self, layers: int, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feedforward) for _ in range(layers))

    def forward(self, tokens: Tensor, position: Tensor | None) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens, position)
        return tokens


class Decoder(nn.Module):
    """Decoder layers and a last norm."""

    def __init__(self, layers: int, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads, feedforward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, content: Tensor, style: Tensor, position: Tensor) -> Tensor:
        for layer in self.layers:
            content = layer(content, style, position)
        return self.norm(content)


class Transformer(nn.Module):
    """Content and style tokens (B, width, h, w) on grids of one size -> stylised tokens of the same shape.

    31.79 M parameters at the published size.
    """

    def __init__(self, width: int = 512, heads: int = 8, layers: int = 3, feedforward: int = 2048) -> None:
        super().__init__()
        self.encoder_c = Encoder(layers, width, heads, feedforward)
        self.encoder_s = Encoder(layers, width, heads, feedforward)
        self.decoder = Decoder(layers, width, heads, feedforward)
        self.new_ps = nn.Conv2d(width, width, 1)

    def positional_code(self, content: Tensor) -> Tensor:
        """Content-aware positional encoding (§3.2): pooled content, one 1 x 1 convolution, resized to the grid."""
        code = self.new_ps(F.adaptive_avg_pool2d(content, POOLED))
        return F.interpolate(code, content.shape[-2:], mode="bilinear")

    def forward(self, style: Tensor, content: Tensor) -> Tensor:
        position, content_tokens, style_tokens = (
            grid.flatten(2).transpose(1, 2) for grid in (self.positional_code(content), content, style)
        )
        style_tokens = self.encoder_s(style_tokens, None)
        content_tokens = self.encoder_c(content_tokens, position)
        tokens = self.decoder(content_tokens, style_tokens, position)
        return tokens.transpose(1, 2).unflatten(2, content.shape[-2:])


def picture_decoder(width: int = 512) -> nn.Sequential:
    """Tokens (B, width, h, w) -> pictures (B, 3, 8 h, 8 w), not clamped: 3 x 3 convolutions over reflected borders,
    nearest-neighbour enlargement after the first, fifth and seventh, no activation after the last."""
    widths = [width, *[width // 2] * 4, *[width // 4] * 2, *[width // 8] * 2, 3]
    modules: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(widths), 1):
        modules += [nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3)]
        modules += [nn.ReLU()] if number < 9 else []
        modules += [nn.Upsample(scale_factor=2, mode="nearest")] if number in (1, 5, 7) else []
    return nn.Sequential(*modules)
