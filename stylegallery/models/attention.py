"""Read and replace what self-attention layers compute, through removable attention processors.

Layers are numbered in execution order: down blocks, middle block, up blocks. Stable Diffusion 1.x has sixteen of
them, SDXL seventy; nothing here assumes either.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from stylegallery.errors import require


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


def query_key_value(attn: Attention, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value (B, heads, tokens, head width) of hidden states (B, tokens, C)."""
    query, key, value = (
        projection(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for projection in (attn.to_q, attn.to_k, attn.to_v)
    )
    return query, key, value


def layer_range(unet: nn.Module, layers: Sequence[int]) -> range:
    """Self-attention layers from the first to the one before the last of `layers`.

    Raises:
        InputError: the model does not have them.
    """
    count = len(self_attention_layers(unet))
    rule = f"layers is [first, after the last] within 0..{count}"
    require(len(layers) == 2 and 0 <= layers[0] < layers[1] <= count, rule, layers)
    return range(*layers)


class RecordingProcessor:
    """Scaled dot-product self-attention that appends what it computed to `records`."""

    def __init__(self, records: list[SelfAttention]) -> None:
        self.records = records

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        query, key, value = query_key_value(attn, hidden_states)
        output = F.scaled_dot_product_attention(query, key, value)
        self.records.append(SelfAttention(query, key, value, output))
        return attn.to_out[0](output.transpose(1, 2).flatten(2))


class InjectingProcessor:
    """Self-attention with the keys and values of a style and a share of the queries of a content (StyleID §4.1).

    softmax(T · (γ Q_content + (1 − γ) Q) K_styleᵀ / √D) V_style with γ = `query_share` and T = `temperature`; the
    style may have another number of tokens.
    """

    def __init__(self, query: Tensor, key: Tensor, value: Tensor, query_share: float, temperature: float) -> None:
        self.query, self.key, self.value = query, key, value
        self.query_share, self.temperature = query_share, temperature

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        current, _key, _value = query_key_value(attn, hidden_states)
        content, key, value = (tensor.to(current.dtype) for tensor in (self.query, self.key, self.value))
        query = self.query_share * content + (1 - self.query_share) * current
        scale = self.temperature / math.sqrt(query.shape[-1])
        output = F.scaled_dot_product_attention(query, key, value, scale=scale)
        return attn.to_out[0](output.transpose(1, 2).flatten(2))


def join_tokens(attentions: Sequence[SelfAttention]) -> SelfAttention:
    """One layer of several pictures as one whose tokens are those of the first, then of the second, ..."""
    return SelfAttention(*(torch.cat(tensors, dim=2) for tensors in zip(*attentions, strict=True)))


@contextmanager
def replaced_processors(unet: nn.Module, layers: Sequence[int], processors: Sequence[Any]) -> Iterator[None]:
    """Within the context the listed self-attention layers run the given processors, one each.

    The processors that were installed before come back on exit, also after an exception.

    Raises:
        IndexError: a layer number the model does not have.
    """
    names = self_attention_layers(unet)
    if not all(0 <= layer < len(names) for layer in layers):
        raise IndexError(f"the model has self-attention layers 0..{len(names) - 1}, asked for {list(layers)}")
    modules = [unet.get_submodule(names[layer]) for layer in layers]
    originals = [module.processor for module in modules]
    try:
        for module, processor in zip(modules, processors, strict=True):
            module.processor = processor
        yield
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.processor = original


@contextmanager
def record_self_attention(unet: nn.Module, layers: Sequence[int]) -> Iterator[list[SelfAttention]]:
    """Within the context every UNet call appends one `SelfAttention` per listed layer, in execution order.

    Raises:
        IndexError: a layer number the model does not have.
    """
    records: list[SelfAttention] = []
    with replaced_processors(unet, layers, [RecordingProcessor(records)] * len(layers)):
        yield records
