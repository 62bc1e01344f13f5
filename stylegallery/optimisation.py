"""Adam on latents that lowers an energy: the loop of StyleGallery's stage 3 and of Attention Distillation.

An update is a function of tensors that stay in place, so that a GPU replays it (replay.py) and a CPU calls it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from stylegallery.contract import Energy
from stylegallery.devices import repeatable_gradients
from stylegallery.replay import Replayed


class Execution(NamedTuple):
    """How a device does stage 3 fastest; results are the same up to rounding."""

    grouped: bool = False  # style targets of a layer in one call, see grouped_attention.py
    replayed: bool = False  # updates without Python, see replay.py

    @classmethod
    def on(cls, device: torch.device) -> "Execution":
        return cls(*[device.type == "cuda"] * 2)


class Losses(Protocol):
    """Style and content loss of latents (B, C, h, w) at a timestep: () of all, or (B,) of each."""

    def prepare(self, timestep: int) -> None:
        """Compute what stays fixed at a timestep, into tensors that stay in place."""

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses at the timestep that was prepared, by those tensors alone where updates are replayed."""


def minimise(
    start: Tensor,
    timesteps: Sequence[int],
    iterations: int,
    losses: Losses,
    learning_rate: Callable[[int], float],
    style_weight: float,
    content_weight: float,
    betas: tuple[float, float] = (0.9, 0.999),
    replayed: bool = False,
) -> Iterator[tuple[Tensor, list[Energy]]]:
    """The latents (B, C, h, w) after every update, and the energy before it: one of all, or one of each, as
    `losses` returns them.

    Energies of each latent are separate, and Adam works on every value by itself: the latents do not mix.

    `losses` are prepared once per timestep, without gradients, for all `iterations`. `learning_rate` is that of an
    update by its number, from 0.

    Raises:
        FloatingPointError: energy or gradient are not finite; the message names the timestep.
    """
    latents = start.clone().requires_grad_(True)
    in_place = replayed or latents.is_cuda  # rate and Adam's count of updates are tensors too, which a graph can read
    first = torch.zeros((), device=latents.device) if in_place else 0.0
    optimizer = torch.optim.Adam([latents], lr=first, betas=betas, capturable=in_place)

    def update() -> Tensor:
        """One update; energy, style and content before it, and whether the gradient was finite, (1 or B, 4)."""
        optimizer.zero_grad()
        with repeatable_gradients():
            style, content = map(torch.atleast_1d, losses(latents))
            energy = style_weight * style + content_weight * content
            finite = differentiate(energy.sum(), latents)
        optimizer.step()
        return torch.stack([energy, style, content, finite.to(energy).expand_as(energy)], 1).detach()

    updates = Replayed(update, latents.device) if replayed else update
    for number in range(len(timesteps) * iterations):
        timestep = timesteps[number // iterations]
        if number % iterations == 0:
            with torch.no_grad():
                losses.prepare(timestep)
        set_rate(optimizer, learning_rate(number))
        told = updates().tolist()  # the only wait for the device in an update
        if not all(finite and math.isfinite(energy) for energy, _, _, finite in told):
            raise FloatingPointError(f"the energy or its gradient is not finite at timestep {timestep}")
        yield latents.detach().clone(), [Energy(number, timestep, *values[:3]) for values in told]


def differentiate(energy: Tensor, latents: Tensor) -> Tensor:
    """Put the gradient of the energy () into `latents.grad`; whether all of it is finite, ()."""
    energy.backward()
    assert latents.grad is not None
    return latents.grad.isfinite().all()


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    (group,) = optimizer.param_groups
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
