"""Optional, not in the paper: what stage 3 needs on a model too small to paint from noise, and where it may end early.
All of it is off by default.

Such a model paints well near a picture, at low timesteps, and leaves the grid of its latents in what it paints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stylegallery.contract import Energy
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.regions import region_count
from stylegallery.settings import Count, NotNegative, Number, Timestep, check_fields


@dataclass(frozen=True)
class ExtrasConfig:
    """Settings of stage 3 that the paper does not have; those of conf/method/stylegallery.yaml change nothing."""

    initial: Literal["inverted", "content"]  # content: the optimisation starts at the clean latent
    highest_timestep: Number  # timesteps above are left out
    final_learning_rate: NotNegative | None  # reached linearly at the last update; None: the same throughout
    normalise: Literal["tokens", "regions"]  # a region weighs by its size, or all regions weigh the same
    keep_region_means: bool  # set every region's mean latent back to where it started
    projection_timestep: Timestep  # 0: none; else one clean-latent estimate at this timestep ends the run
    patience: (
        Number  # 0: none; else updates after which an energy that did not fall ends the optimisation, see `settled`
    )
    updates: Count | None  # the first of the schedule alone, such as those that a run with patience made; None: all

    def __post_init__(self) -> None:
        check_fields(self)

    def most(self, scheduled: int) -> int:
        """The most updates that are made of so many."""
        return scheduled if self.updates is None else min(scheduled, self.updates)


def learning_rate(first: float, last: float | None, share: float) -> float:
    """The rate at a share of the updates, 0 to 1: linear from `first` to `last`, or `first` throughout."""
    return first if last is None else first + share * (last - first)


def settled(energies: Sequence[Energy], patience: int) -> bool:
    """Whether the mean energy of the last `patience` updates is no lower than that of as many before them; never where
    patience is 0. Means, because the energy jumps a little from one timestep to the next."""
    values = [energy.energy for energy in energies[-2 * patience :]]
    return 0 < 2 * patience == len(values) and sum(values[patience:]) >= sum(values[:patience])


def mean_of_regions(differences: Sequence[Tensor]) -> Tensor:
    """The mean () of every region's mean difference."""
    return torch.stack([difference.mean() for difference in differences]).sum() / len(differences)


def finished(model: DiffusionModel, latent: Tensor, start: Tensor, labels: Tensor, config: ExtrasConfig) -> Tensor:
    """The optimised latent (1, C, h, w), projected and with the means of `start` in the regions of labels (h, w), as
    far as the config asks for either."""
    if config.projection_timestep > 0:
        latent = model.project(latent, config.projection_timestep)
    return with_region_means(latent, start, labels) if config.keep_region_means else latent


def with_region_means(latent: Tensor, source: Tensor, labels: Tensor) -> Tensor:
    """`latent` (1, C, h, w) shifted, region by region and channel by channel, to the means of `source`.

    The sign gradients of L1 losses push all cells of a region the same way; a latent whose channels are waves within a
    cell shows such a drift as a pattern with the period of the grid.
    """
    result = latent.clone()
    for label in range(1, region_count(labels) + 1):
        inside = labels == label
        result[:, :, inside] += (source - latent)[:, :, inside].mean(-1, keepdim=True)
    return result
