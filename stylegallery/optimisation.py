"""Adam on a latent that lowers an energy: the loop of StyleGallery's stage 3 and of Attention Distillation."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from stylegallery.contract import Energy
from stylegallery.devices import repeatable_gradients

Losses = Callable[[Tensor], tuple[Tensor, Tensor]]  # latents -> style and content loss, () of all or (B,) of each


def minimise(
    start: Tensor,
    timesteps: Sequence[int],
    iterations: int,
    losses_at: Callable[[int], Losses],
    learning_rate: Callable[[int], float],
    style_weight: float,
    content_weight: float,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Iterator[tuple[Tensor, list[Energy]]]:
    """The latents (B, C, h, w) after every update, and the energy before it: one of all, or one of each.

    Energies of each latent are separate, and Adam works on every value by itself: the latents do not mix.

    `losses_at` is called once per timestep, without gradients: what stays fixed there is computed once for all
    `iterations`. `learning_rate` is that of an update by its number, from 0.

    Raises:
        FloatingPointError: energy or gradient are not finite; the message names the timestep.
    """
    latent = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latent], betas=betas)
    step = 0
    for timestep in timesteps:
        with torch.no_grad():
            losses = losses_at(timestep)
        for _ in range(iterations):
            optimizer.param_groups[0]["lr"] = learning_rate(step)
            optimizer.zero_grad()
            with repeatable_gradients():
                style, content = map(torch.atleast_1d, losses(latent))
                energy = style_weight * style + content_weight * content
                differentiate(energy.sum(), latent, timestep)
            optimizer.step()
            told = torch.stack([energy, style, content], 1).tolist()
            yield latent.detach().clone(), [Energy(step, timestep, *values) for values in told]
            step += 1


def differentiate(energy: Tensor, latent: Tensor, timestep: int) -> None:
    """Put the gradient of the energy into `latent.grad`."""
    energy.backward()
    if latent.grad is None or not latent.grad.isfinite().all() or not energy.isfinite():
        raise FloatingPointError(f"the energy or its gradient is not finite at timestep {timestep}")
