"""The style targets of all regions of a layer from one call of attention, for a GPU: `guidance.style_target` makes a
call for each, which is what a CPU is fastest with."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegallery.models.attention import SelfAttention

ALIGNMENT = 4  # PyTorch's kernel for float32 wants heads of a multiple of four columns


@torch.no_grad()
def grouped_target(
    query: Tensor,
    regions: Sequence[Tensor],
    styles: Sequence[tuple[SelfAttention, Tensor]],
    scale: float,
    outside_keys: Literal["excluded", "zeroed", "attended"],
) -> Tensor:
    """The targets (1, H, Σ n, D) of regions, in their order, as `style_target` gives them up to rounding.

    `regions` are tokens (n,) of the query (1, H, N, D), and `styles` says whose tokens (m,) each of them meets.
    """
    queries = query[:, :, torch.cat(list(regions))] * (scale / math.sqrt(query.shape[-1]))
    keys, values = [], []
    for reference, tokens in styles:
        whole = outside_keys == "attended"
        key, value = (each if whole else each[:, :, tokens] for each in (reference.key, reference.value))
        if outside_keys == "zeroed":  # one more key of value 0, whose logit stands in a column of its own
            outside = reference.key.shape[2] - len(tokens)
            key, value = F.pad(key, (0, ALIGNMENT, 0, 1)), F.pad(value, (0, 0, 0, 1))
            key[:, :, -1, query.shape[-1]].fill_(math.log(outside) if outside else -math.inf)
        keys.append(key)
        values.append(value)
    if outside_keys == "zeroed":
        queries = F.pad(queries, (0, ALIGNMENT))
        queries[..., query.shape[-1]].fill_(1)
    asked, met = [len(tokens) for tokens in regions], [key.shape[2] for key in keys]
    found = F.scaled_dot_product_attention(
        jagged(queries, asked), jagged(torch.cat(keys, 2), met), jagged(torch.cat(values, 2), met), scale=1.0
    )
    return found.transpose(1, 2).values().transpose(0, 1)[None]


def jagged(rows: Tensor, lengths: Sequence[int]) -> Tensor:
    """Rows (1, H, Σ n, D) as a nested tensor (len(lengths), H, n, D), whose n are `lengths`."""
    ends = [sum(lengths[:count]) for count in range(len(lengths) + 1)]
    # Not torch.tensor(ends): a CUDA graph cannot be captured where the CPU's memory is copied.
    offsets = torch.stack([torch.full((), end, device=rows.device) for end in ends])
    packed = rows[0].transpose(0, 1).contiguous()
    nested: Tensor = torch.nested.nested_tensor_from_jagged(
        packed, offsets, min_seqlen=min(lengths), max_seqlen=max(lengths)
    )
    return nested.transpose(1, 2)
