"""Read queries, keys, values and outputs of self-attention layers, through removable attention processors.

Layers are numbered in execution order: down blocks, middle block, up blocks. Stable Diffusion 1.x has sixteen of
them, SDXL seventy; nothing here assumes either.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


class SelfAttention(NamedTuple):
    """What one self-attention layer computed: four tensors (B, heads, tokens, head width), tokens row-major.

    `output` is softmax(query keyᵀ / √width) value, before the output projection.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


def self_attention_layers(unet: nn.Module) -> list[str]:
    """Names of all self-attention modules of a diffusers UNet in execution order."""
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}

    def execution_key(name: str) -> tuple[int, list[int]]:
        return order[name.split(".")[0]], [int(number) for number in re.findall(r"\.(\d+)", name)]

    names = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and not module.is_cross_attention and name.split(".")[0] in order
    ]
    return sorted(names, key=execution_key)


class RecordingProcessor:
    """Scaled dot-product self-attention that appends what it computed to `records`."""

    def __init__(self, records: list[SelfAttention]) -> None:
        self.records = records

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        output = F.scaled_dot_product_attention(query, key, value)
        self.records.append(SelfAttention(query, key, value, output))
        return attn.to_out[0](output.transpose(1, 2).flatten(2))


@contextmanager
def record_self_attention(unet: nn.Module, layers: Sequence[int]) -> Iterator[list[SelfAttention]]:
    """Within the context every UNet call appends one `SelfAttention` per listed layer, in execution order.

    The processors that were installed before come back on exit, also after an exception.

    Raises:
        IndexError: a layer number the model does not have.
    """
    names = self_attention_layers(unet)
    if not all(0 <= layer < len(names) for layer in layers):
        raise IndexError(f"the model has self-attention layers 0..{len(names) - 1}, asked for {list(layers)}")
    modules = [unet.get_submodule(names[layer]) for layer in layers]
    originals = [module.processor for module in modules]
    records: list[SelfAttention] = []
    try:
        for module in modules:
            module.processor = RecordingProcessor(records)  # type: ignore[assignment]
        yield records
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.processor = original
