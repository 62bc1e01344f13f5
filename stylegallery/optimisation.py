"""Adam on a latent that lowers an energy: the loop of StyleGallery's stage 3 and of Attention Distillation."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from stylegallery.contract import Energy
from stylegallery.devices import repeatable_gradients

Losses = Callable[[Tensor], tuple[Tensor, Tensor]]  # latents -> style loss (), content loss ()


def minimise(
    start: Tensor,
    timesteps: Sequence[int],
    iterations: int,
    losses_at: Callable[[int], Losses],
    learning_rate: Callable[[int], float],
    style_weight: float,
    content_weight: float,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Iterator[tuple[Tensor, Energy]]:
    """The latents (B, C, h, w) after every update, and the energy before it.

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
                style, content = losses(latent)
                energy = style_weight * style + content_weight * content
                differentiate(energy, latent, timestep)
            optimizer.step()
            yield latent.detach().clone(), Energy(step, timestep, energy.item(), style.item(), content.item())
            step += 1


def differentiate(energy: Tensor, latent: Tensor, timestep: int) -> None:
    """Put the gradient of the energy into `latent.grad`."""
    energy.backward()
    if latent.grad is None or not latent.grad.isfinite().all() or not energy.isfinite():
        raise FloatingPointError(f"the energy or its gradient is not finite at timestep {timestep}")
