"""What stays fixed while a latent is optimised at a timestep, in tensors that stay in place, as replay.py asks for."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from stylegallery.models.attention import SelfAttention
from stylegallery.replay import Replayed

OfEach = Callable[[Sequence[Tensor], int | Tensor], list[list[SelfAttention]]]  # pictures, timestep -> their layers


class FixedAttention:
    """Self-attention of pictures at a timestep, which does not depend on the latent, and the timestep itself ().

    `batches` are latents (1, C, h, w) of pictures that go through the network together. `refresh` of the timesteps in a
    row share what is computed at the middle one. `layers[batch][picture]` are empty before the first timestep. Where
    they are computed by replays, `of_each` is given the timestep as a tensor () on the device, else as a number.
    """

    def __init__(
        self,
        batches: Sequence[Sequence[Tensor]],
        of_each: OfEach,
        timesteps: Sequence[int],
        refresh: int = 1,
        replayed: bool = False,
    ) -> None:
        groups = [timesteps[first : first + refresh] for first in range(0, len(timesteps), refresh)]
        self.middle = {timestep: group[len(group) // 2] for group in groups for timestep in group}
        self.layers: list[list[list[SelfAttention]]] = [[[] for _ in batch] for batch in batches]
        self.timestep = torch.zeros((), dtype=torch.int64, device=batches[0][0].device)
        self.moment = self.timestep.clone()  # the middle timestep, that of the pictures
        self.taken_at: int | None = None
        self.compute = partial(put_all, self.layers, of_each, batches)
        self.replay = Replayed(partial(self.compute, self.moment), self.moment.device) if replayed else None

    def take(self, timestep: int) -> None:
        """Put in place what belongs to one of the timesteps."""
        self.timestep.fill_(timestep)
        if self.middle[timestep] == self.taken_at:
            return
        self.taken_at = self.middle[timestep]
        if self.replay:
            self.moment.fill_(self.taken_at)
            self.replay()
        else:
            self.compute(self.taken_at)


def put_all(
    layers: Sequence[Sequence[list[SelfAttention]]],
    of_each: OfEach,
    batches: Sequence[Sequence[Tensor]],
    timestep: int | Tensor,
) -> None:
    """Compute the layers of all pictures and put them in their place."""
    for batch, pictures in zip(batches, layers, strict=True):
        for held, found in zip(pictures, of_each(batch, timestep), strict=True):
            put(held, found)


def put(held: list[SelfAttention], found: Sequence[SelfAttention]) -> None:
    """Put what was found in the place of what is held, which is empty at first."""
    if not held:  # clones: what was found may be kept for others, see shared_attention.py
        held.extend(SelfAttention(*(tensor.clone() for tensor in layer)) for layer in found)
        return
    for layer, other in zip(held, found, strict=True):
        for tensor, new in zip(layer, other, strict=True):
            tensor.copy_(new)
