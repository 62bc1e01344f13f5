"""Self-attention, whatever network it is a part of: what a layer computes, and how that is read."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # query, key, value -> output, all (B, heads, tokens, head width)


class SelfAttention(NamedTuple):
    """What one self-attention layer computed: four tensors (B, heads, tokens, head width), tokens row-major.

    `output` is softmax(query keyᵀ / √width) value, before the output projection.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


class Recorder:
    """Scaled dot-product attention that appends what it computed to `records`."""

    def __init__(self) -> None:
        self.records: list[SelfAttention] = []

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = F.scaled_dot_product_attention(query, key, value)
        self.records.append(SelfAttention(query, key, value, output))
        return output


def of_each_latent(attention: Sequence[SelfAttention]) -> list[list[SelfAttention]]:
    """The layers of every latent of a batch, its own (1, H, N, D)."""
    split = [[tensor.split(1) for tensor in layer] for layer in attention]
    return [[SelfAttention(*(rows[i] for rows in layer)) for layer in split] for i in range(len(split[0][0]))]
