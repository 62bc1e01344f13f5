"""Stage 3: optimise the latent under a regional style loss and a global content loss (paper §3.3).

Energy = λ_s · RSL + λ_c · GCL; the paper's λ_s is 1. Attention is sparse by gathering: every content region's
queries meet the keys and values of its matched reference region and nothing else, Σ n_i m_j logits (n_i queries, m_j
keys) instead of K N² (K references, N tokens).
How a GPU does the same without waiting for Python is in grouped_attention.py, fixed_attention.py and replay.py.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from stylegallery.contract import Advance, Energy, Match, ignored
from stylegallery.errors import SettingsError
from stylegallery.extras.small_models import ExtrasConfig, finished, learning_rate, mean_of_regions, settled
from stylegallery.fixed_attention import FixedAttention
from stylegallery.grouped_attention import grouped_target
from stylegallery.models.attention import SelfAttention, of_each_latent
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import Execution, minimise
from stylegallery.segmentation import Segmentation
from stylegallery.settings import Count, NotNegative, Number, Positive, Steps, check_fields
from stylegallery.shared_attention import SharedAttention

Beta = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class GuidanceConfig:
    """Settings of stage 3; conf/method/stylegallery.yaml has the paper's values, but for `refresh`."""

    steps: Steps  # DDIM timesteps, from high to low
    iterations: Count  # optimiser updates per timestep
    refresh: Count  # timesteps that share one pass of content and references; 1: as in the paper
    learning_rate: Positive
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)]  # of Adam: how long it remembers gradients and their size
    style_weight: NotNegative  # λ_s; only the ratio to λ_c matters to Adam
    content_weight: NotNegative  # λ_c
    attention_scale: NotNegative  # of the query in the style target
    layers: Count  # the last self-attention layers
    outside_keys: Literal["excluded", "zeroed", "attended"]  # see `style_target`; published: zeroed
    batched: bool  # pictures in one UNet call; published: one call each
    shared_mib: Number  # of features that are kept for other items, see shared_attention.py; 0: none
    extras: ExtrasConfig  # not in the paper

    def __post_init__(self) -> None:
        check_fields(self)


class Scene(NamedTuple):
    """What stage 3 paints: a content, its references, and which of their regions are matched."""

    content: Segmentation
    references: Sequence[Segmentation]
    matches: Sequence[Match]

    @property
    def used(self) -> list[int]:
        """Numbers of the references that have a match."""
        return sorted({match.reference for match in self.matches})


Optimised = tuple[Tensor, list[Energy]]  # the stylised latent (1, C, h, w) and the energy of every update


def optimise(
    model: DiffusionModel,
    content: Segmentation,
    references: Sequence[Segmentation],
    matches: Sequence[Match],
    config: GuidanceConfig,
    advance: Advance = ignored,
    shared: SharedAttention | None = None,
    execution: Execution | None = None,
) -> Optimised:
    """Stage 3 of one scene, see `optimise_together`."""
    (found,) = optimise_together(model, [Scene(content, references, matches)], config, [advance], shared, execution)
    return found


def optimise_together(
    model: DiffusionModel,
    scenes: Sequence[Scene],
    config: GuidanceConfig,
    advances: Sequence[Advance],
    shared: SharedAttention | None = None,
    execution: Execution | None = None,
) -> list[Optimised]:
    """The stylised latent of every scene and its energies. Contents have one shape: their latents share the network's
    calls, and each is what it would be alone, up to rounding. `advances` are told of every update's energy and picture.

    Raises:
        As `updates_together`.
    """
    found: list[Optimised] = []
    for found in updates_together(model, scenes, config, shared, execution):
        newest = max(energies[-1].step for _, energies in found)
        for (latent, energies), advance in zip(found, advances, strict=True):
            if energies[-1].step == newest:  # a scene that settled earlier has no new energy
                advance(energies[-1], partial(model.decode, latent))
    return [(ended(model, scene, one[0], config), one[1]) for scene, one in zip(scenes, found, strict=True)]


def updates_together(
    model: DiffusionModel,
    scenes: Sequence[Scene],
    config: GuidanceConfig,
    shared: SharedAttention | None = None,
    execution: Execution | None = None,
) -> Iterator[list[Optimised]]:
    """The latent of every scene after each update, as it is before `ended`, and its energies so far.

    References without a match are not run. `execution` is that of the model's device, if not given.

    Raises:
        SettingsError: the settings ask for more layers than the model has, or leave no timestep.
        FloatingPointError: energy or gradient are not finite; the message names the timestep.
    """
    execution, extras = execution or Execution.on(model.device), config.extras
    timesteps = guidance_timesteps(model, config)
    losses = SceneLosses(model, scenes, config, timesteps, shared, execution)
    start = torch.cat([initial_latent(scene.content, config) for scene in scenes])
    last = max(1, len(timesteps) * config.iterations - 1)

    def rate(step: int) -> float:
        return learning_rate(config.learning_rate, extras.final_learning_rate, step / last)

    weights = config.style_weight, config.content_weight
    updates = minimise(start, timesteps, config.iterations, losses, rate, *weights, config.betas, execution.replayed)
    latents, energies, going = list(start.split(1)), [list[Energy]() for _ in scenes], list(range(len(scenes)))
    for update, told in itertools.islice(updates, extras.updates):
        for i in going:
            latents[i] = update[i : i + 1]
            energies[i].append(told[i])
        yield list(zip(latents, energies, strict=True))
        going = [i for i in going if not settled(energies[i], extras.patience)]
        if not going:
            break


def ended(model: DiffusionModel, scene: Scene, latent: Tensor, config: GuidanceConfig) -> Tensor:
    """The stylised latent (1, C, h, w) that the latent of the last update becomes."""
    return finished(model, latent, initial_latent(scene.content, config), scene.content.labels, config.extras)


class SceneLosses:
    """Style and content loss of every scene's latent, which `minimise` lowers.

    Features of content and references do not depend on z: `refresh` timesteps in a row share them, and items of a job
    what `shared` keeps. Raises as `optimise_together`.
    """

    def __init__(
        self,
        model: DiffusionModel,
        scenes: Sequence[Scene],
        config: GuidanceConfig,
        timesteps: Sequence[int],
        shared: SharedAttention | None = None,
        execution: Execution = Execution(),
    ) -> None:
        self.model, self.scenes, self.config, self.grouped = model, scenes, config, execution.grouped
        self.layers, keeps = guided_layers(model, config), shared is not None and shared.limit > 0
        whose = shared.of_each if shared and keeps else model.self_attention_of_each
        of_each = partial(whose, layers=self.layers, batched=config.batched)
        # A graph reads fixed addresses; what `shared` keeps is looked up in Python.
        replayed = execution.replayed and not keeps
        contents = [scene.content.latent for scene in scenes]
        styles = [[scene.references[number - 1].latent for number in scene.used] for scene in scenes]
        # A latent that starts at its content must have its queries to the bit, else the L1 loss pulls at once: contents
        # run in a batch of the same shape as latents.
        apart = config.extras.initial == "content"
        batches = [contents, *styles] if apart else [[c, *rest] for c, rest in zip(contents, styles, strict=True)]
        self.fixed = FixedAttention(batches, of_each, timesteps, config.refresh, replayed)
        first, *others = self.fixed.layers
        # Of every scene the layers of its content, then of its used references.
        self.pictures = [[c, *rest] for c, rest in zip(first, others, strict=True)] if apart else [first, *others]
        self.prepare = self.fixed.take

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        found = []
        of_latents = of_each_latent(self.model.self_attention(latents, self.fixed.timestep, self.layers))
        for attention, scene, (content, *references) in zip(of_latents, self.scenes, self.pictures, strict=True):
            by_reference = dict(zip(scene.used, references, strict=True))
            style = regional_style_loss(attention, by_reference, *scene, self.config, self.grouped)
            found.append(torch.stack([style, content_loss(attention, content)]))
        style, kept = torch.stack(found, 1)
        return style, kept


def guided_layers(model: DiffusionModel, config: GuidanceConfig) -> range:
    """The last self-attention layers, which the losses look at. Raises SettingsError where the model has fewer."""
    if config.layers > model.layer_count:
        raise SettingsError(f"guidance.layers is {config.layers}, but the model has {model.layer_count} layers")
    return range(model.layer_count - config.layers, model.layer_count)


def guidance_timesteps(model: DiffusionModel, config: GuidanceConfig) -> list[int]:
    """The timesteps the energy is lowered at, high to low. Raises SettingsError where none is left."""
    highest = config.extras.highest_timestep
    timesteps = [timestep for timestep in model.timesteps(config.steps) if timestep <= highest]
    if not timesteps:
        raise SettingsError(f"none of the {config.steps} timesteps is at or below {highest}; raise either")
    return timesteps


def initial_latent(content: Segmentation, config: GuidanceConfig) -> Tensor:
    """Where the optimisation starts: the inverted content latent, standardised over channels at every token
    (z − mean_c) / (std_c + 1e-8), or the content latent itself."""
    if config.extras.initial == "content":
        return content.latent
    inverted = content.inverted
    return (inverted - inverted.mean(1, keepdim=True)) / (inverted.std(1, keepdim=True) + 1e-8)


def content_loss(attention: Sequence[SelfAttention], content: Sequence[SelfAttention]) -> Tensor:
    """GCL = Σ_layers mean |Q_z − Q_content| (), over the queries (1, H, N, D) of every layer."""
    differences = [(a.query - c.query).abs().mean() for a, c in zip(attention, content, strict=True)]
    return torch.stack(differences).sum()


def regional_style_loss(
    attention: Sequence[SelfAttention],
    reference_attention: dict[int, list[SelfAttention]],
    content: Segmentation,
    references: Sequence[Segmentation],
    matches: Sequence[Match],
    config: GuidanceConfig,
    grouped: bool = False,
) -> Tensor:
    """RSL = Σ_layers Σ_(i→j) |out_z − softmax(s · Q_z K_jᵀ / √D) V_j| over region i, as a mean over all tokens.

    `reference_attention[number]` holds the layers of that reference. A content region that has no token left on a
    layer's coarser grid takes no part in that layer (SDXL's last six all halve the grid, so that a region on odd rows
    alone has no style there). With outside keys `excluded`, the match of a reference region without tokens takes none
    either. With them `zeroed`, as published, queries outside of region i are zero too and meet the mean value of
    region j: a constant without gradient.
    """
    total = attention[0].query.new_zeros(())
    for index, layer in enumerate(attention):
        regions, styles = list[Tensor](), list[tuple[SelfAttention, Tensor]]()
        for match in matches:
            queries = content.tokens(match.content_region, layer.query)
            reference = reference_attention[match.reference][index]
            keys = references[match.reference - 1].tokens(match.reference_region, reference.key)
            if config.outside_keys == "zeroed" and config.extras.normalise == "tokens":
                mean_value = reference.value[:, :, keys].sum(2) / reference.key.shape[2]
                outside = layer.query.shape[2] - len(queries)
                total = total + outside * mean_value.abs().sum() / layer.output.numel()
            if len(queries) > 0 and (len(keys) > 0 or config.outside_keys != "excluded"):
                regions.append(queries)
                styles.append((reference, keys))
        if not regions:
            continue
        how = config.attention_scale, config.outside_keys
        if grouped:
            target = grouped_target(layer.query, regions, styles, *how)
            difference = (layer.output[:, :, torch.cat(regions)] - target).abs()
            differences = difference.split([len(queries) for queries in regions], 2)
        else:
            differences = tuple(
                (layer.output[:, :, queries] - style_target(layer.query[:, :, queries], *style, *how)).abs()
                for queries, style in zip(regions, styles, strict=True)
            )
        if config.extras.normalise == "regions":
            total = total + mean_of_regions(differences)
        else:
            total = total + torch.stack([part.sum() / layer.output.numel() for part in differences]).sum()
    return total


@torch.no_grad()
def style_target(
    query: Tensor,
    reference: SelfAttention,
    keys: Tensor,
    scale: float,
    outside_keys: Literal["excluded", "zeroed", "attended"] = "excluded",
) -> Tensor:
    """softmax(scale · Q K_jᵀ / √D) V_j for queries (1, H, n, D) and the reference's tokens `keys` (m); no gradient.

    The other N − m tokens are `excluded` from the softmax, `attended` like the region's own, or, as published,
    `zeroed`: keys and values of zeros stay in the softmax, which equals one more key of value 0 and logit log(N − m).
    """
    softmax_scale = scale / math.sqrt(query.shape[-1])
    if outside_keys == "attended":
        return F.scaled_dot_product_attention(query, reference.key, reference.value, scale=softmax_scale)
    key, value = reference.key[:, :, keys], reference.value[:, :, keys]
    if outside_keys == "excluded":
        return F.scaled_dot_product_attention(query, key, value, scale=softmax_scale)
    bias = query.new_zeros(1, 1, 1, len(keys) + 1)
    outside = reference.key.shape[2] - len(keys)
    bias[..., -1].fill_(math.log(outside) if outside else -math.inf)
    key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
    return F.scaled_dot_product_attention(query, key, value, bias, scale=softmax_scale)
