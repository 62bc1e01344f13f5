"""Self-attention of pictures, kept for the other items of a job that use the same picture at the same timestep."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel

Key = tuple[str, tuple[int, ...], int, tuple[int, ...]]  # digest of a latent, its shape, timestep, layers


class SharedAttention:
    """`self_attention_of_each` of one model, which keeps what it computed of pictures that went through the network
    alone, up to a limit in MiB; what was used least recently goes first.

    Results are the same to the byte. In a batch the rounding depends on the pictures beside, and so it would on the
    items before: what comes out of one is not kept.
    """

    def __init__(self, model: DiffusionModel, mebibytes: float) -> None:
        self.model, self.limit = model, mebibytes * 2**20
        self.kept: OrderedDict[Key, list[SelfAttention]] = OrderedDict()
        self.bytes = 0

    def of_each(
        self, latents: Sequence[Tensor], timestep: int, layers: Sequence[int], batched: bool
    ) -> list[list[SelfAttention]]:
        """As `DiffusionModel.self_attention_of_each`."""
        if self.limit == 0 or (batched and len(latents) > 1):
            return self.model.self_attention_of_each(latents, timestep, layers, batched)
        return [self.of(latent, timestep, layers) for latent in latents]

    def of(self, latent: Tensor, timestep: int, layers: Sequence[int]) -> list[SelfAttention]:
        """As `DiffusionModel.self_attention`, of a latent (1, C, h, w)."""
        digest = hashlib.sha256(latent.cpu().numpy().tobytes()).hexdigest()
        key = (digest, tuple(latent.shape), timestep, tuple(layers))
        found = self.kept.pop(key, None)
        if found is None:
            found = self.model.self_attention(latent, timestep, layers)
            self.bytes += size(found)
        self.kept[key] = found
        while self.bytes > self.limit:
            self.bytes -= size(self.kept.popitem(last=False)[1])
        return found


def size(attention: Sequence[SelfAttention]) -> int:
    """Bytes of the tensors of some layers."""
    return sum(tensor.nbytes for layer in attention for tensor in layer)
