"""Stage 3: optimise the latent under a regional style loss and a global content loss (paper §3.3).

Energy = λ_s · RSL + λ_c · GCL; the paper's λ_s is 1. Attention is sparse by gathering: every content region's
queries meet the keys and values of its matched reference region and nothing else, Σ n_i m_j logits instead of K N².
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegallery.contract import Energy, Match
from stylegallery.devices import repeatable_gradients
from stylegallery.errors import InputError
from stylegallery.models.attention import SelfAttention
from stylegallery.models.unet import DiffusionModel
from stylegallery.regions import region_count
from stylegallery.segmentation import ImageAnalysis
from stylegallery.settings import Count, NotNegative, Number, Positive, Steps, Timestep, check_fields


@dataclass(frozen=True)
class GuidanceConfig:
    """Settings of stage 3; the defaults are the paper's for Stable Diffusion 1.5."""

    steps: Steps = 150  # DDIM timesteps, from high to low
    iterations: Count = 1  # optimiser updates per timestep
    learning_rate: Positive = 0.05
    style_weight: NotNegative = 1.0  # λ_s; only the ratio to λ_c matters to Adam
    content_weight: NotNegative = 0.26  # λ_c
    attention_scale: NotNegative = 1.5  # of the query in the style target
    layers: Count = 6  # the last self-attention layers
    outside_keys: Literal["excluded", "zeroed", "attended"] = "excluded"  # see `style_target`; published: zeroed
    batched: bool = True  # pictures in one UNet call; published: one call each
    # Not in the paper, and off:
    final_learning_rate: NotNegative | None = None  # reached linearly at the last update; None: the same throughout
    highest_timestep: Number = 1000  # timesteps above are left out
    initial: Literal["inverted", "content"] = "inverted"
    normalise: Literal["tokens", "regions"] = "tokens"  # a region weighs by its size, or all regions weigh the same
    keep_region_means: bool = False  # set every region's mean latent back to where it started
    projection_timestep: Timestep = 0  # 0: none; else one clean-latent estimate at this timestep ends the run

    def __post_init__(self) -> None:
        check_fields(self)


def optimise(
    model: DiffusionModel,
    content: ImageAnalysis,
    references: Sequence[ImageAnalysis],
    matches: Sequence[Match],
    config: GuidanceConfig,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Tensor, list[Energy]]:
    """The stylised latent (1, C, h, w) and the energy of every update.

    References without a match are not run. `advance` is called after every update.

    Raises:
        InputError: the settings ask for more layers than the model has, or leave no timestep.
        FloatingPointError: energy or gradient are not finite; the message names the timestep.
    """
    layers = guided_layers(model, config)
    used = sorted({match.reference for match in matches})
    styles = [references[number - 1].latent for number in used]
    # A latent that starts at the content must find its queries equal: in a batch with others they differ by rounding.
    batches = [[content.latent], styles] if config.initial == "content" else [[content.latent, *styles]]
    timesteps = guidance_timesteps(model, config)
    latent = initial_latent(content, config).clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latent], lr=config.learning_rate)
    total = len(timesteps) * config.iterations
    last_rate = config.learning_rate if config.final_learning_rate is None else config.final_learning_rate
    energies: list[Energy] = []
    for timestep in timesteps:
        with torch.no_grad():
            content_attention, *reference_attention = itertools.chain.from_iterable(
                attention_of_each(model, batch, timestep, layers, config.batched) for batch in batches
            )
        by_reference = dict(zip(used, reference_attention, strict=True))
        for _ in range(config.iterations):
            step = len(energies)
            for group in optimizer.param_groups:
                progress = step / max(1, total - 1)
                group["lr"] = config.learning_rate + progress * (last_rate - config.learning_rate)
            optimizer.zero_grad()
            with repeatable_gradients():
                attention = model.self_attention(latent, timestep, layers)
                style = regional_style_loss(attention, by_reference, content, references, matches, config)
                global_content = content_loss(attention, content_attention)
                energy = config.style_weight * style + config.content_weight * global_content
                differentiate(energy, latent, timestep)
            optimizer.step()
            energies.append(Energy(step, timestep, energy.item(), style.item(), global_content.item()))
            advance()
    result = latent.detach()
    if config.projection_timestep > 0:
        result = model.project(result, config.projection_timestep)
    if config.keep_region_means:
        result = with_region_means(result, initial_latent(content, config), content.labels)
    return result, energies


def differentiate(energy: Tensor, latent: Tensor, timestep: int) -> None:
    """Put the gradient of the energy into `latent.grad`.

    Raises:
        FloatingPointError: energy or gradient are not finite.
    """
    energy.backward()
    if latent.grad is None or not latent.grad.isfinite().all() or not energy.isfinite():
        raise FloatingPointError(f"the energy or its gradient is not finite at timestep {timestep}")


def guided_layers(model: DiffusionModel, config: GuidanceConfig) -> range:
    """The last self-attention layers, which the losses look at. Raises InputError where the model has fewer."""
    if config.layers > model.layer_count:
        raise InputError(f"guidance.layers is {config.layers}, but the model has {model.layer_count} layers")
    return range(model.layer_count - config.layers, model.layer_count)


def guidance_timesteps(model: DiffusionModel, config: GuidanceConfig) -> list[int]:
    """The timesteps the energy is lowered at, high to low. Raises InputError where none is left."""
    timesteps = [timestep for timestep in model.timesteps(config.steps) if timestep <= config.highest_timestep]
    if not timesteps:
        raise InputError(f"none of the {config.steps} timesteps is at or below {config.highest_timestep}; raise either")
    return timesteps


def initial_latent(content: ImageAnalysis, config: GuidanceConfig) -> Tensor:
    """Where the optimisation starts: the inverted content latent, standardised over channels at every token
    (z − mean_c) / (std_c + 1e-8), or the content latent itself."""
    if config.initial == "content":
        return content.latent
    inverted = content.inverted
    return (inverted - inverted.mean(1, keepdim=True)) / (inverted.std(1, keepdim=True) + 1e-8)


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


def attention_of_each(
    model: DiffusionModel, latents: Sequence[Tensor], timestep: int, layers: Sequence[int], batched: bool = True
) -> list[list[SelfAttention]]:
    """Self-attention, layer by layer, of every latent (1, C, h, w) at one timestep.

    Latents of one shape share one UNet call if `batched`.

    The gradients of L1 losses are signs: where a difference is near zero the rounding decides, which is not the
    same in a batch. Equality with the published run needs batches of one.
    """
    if not batched:
        return [model.self_attention(latent, timestep, layers) for latent in latents]
    results: dict[int, list[SelfAttention]] = {}
    for shape in {latent.shape: None for latent in latents}:
        indices = [i for i, latent in enumerate(latents) if latent.shape == shape]
        batch = model.self_attention(torch.cat([latents[i] for i in indices]), timestep, layers)
        for row, index in enumerate(indices):
            results[index] = [SelfAttention(*(tensor[row : row + 1] for tensor in layer)) for layer in batch]
    return [results[index] for index in range(len(latents))]


def content_loss(attention: Sequence[SelfAttention], content: Sequence[SelfAttention]) -> Tensor:
    """GCL = Σ_layers mean |Q_z − Q_content| (), over the queries (1, H, N, D) of every layer."""
    differences = [(a.query - c.query).abs().mean() for a, c in zip(attention, content, strict=True)]
    return torch.stack(differences).sum()


def regional_style_loss(
    attention: Sequence[SelfAttention],
    reference_attention: dict[int, list[SelfAttention]],
    content: ImageAnalysis,
    references: Sequence[ImageAnalysis],
    matches: Sequence[Match],
    config: GuidanceConfig,
) -> Tensor:
    """RSL = Σ_layers Σ_(i→j) |out_z − softmax(s · Q_z K_jᵀ / √D) V_j| over region i, as a mean over all tokens.

    `reference_attention[number]` holds the layers of that reference. A content region that has no token left on a
    layer's coarser grid takes no part in that layer (SDXL's last six all halve the grid, so that a region on odd rows
    alone has no style there); nor does the match of a reference region that has none, where
    outside keys are excluded. Where they are zeroed, as published, outside queries are too and meet the mean value of
    region j: a constant without gradient.
    """
    total = attention[0].query.new_zeros(())
    for index, layer in enumerate(attention):
        shares = []
        for match in matches:
            queries = content.tokens(match.content_region, layer.query)
            reference = reference_attention[match.reference][index]
            keys = references[match.reference - 1].tokens(match.reference_region, reference.key)
            if config.outside_keys == "zeroed" and config.normalise == "tokens":
                mean_value = reference.value[:, :, keys].sum(2) / reference.key.shape[2]
                outside = layer.query.shape[2] - len(queries)
                total = total + outside * mean_value.abs().sum() / layer.output.numel()
            if len(queries) == 0 or (len(keys) == 0 and config.outside_keys == "excluded"):
                continue
            target = style_target(
                layer.query[:, :, queries], reference, keys, config.attention_scale, config.outside_keys
            )
            difference = (layer.output[:, :, queries] - target).abs()
            shares.append(
                difference.mean() if config.normalise == "regions" else difference.sum() / layer.output.numel()
            )
        if shares:
            mean = len(shares) if config.normalise == "regions" else 1
            total = total + torch.stack(shares).sum() / mean
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
    bias[..., -1] = math.log(outside) if (outside := reference.key.shape[2] - len(keys)) else -math.inf
    key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
    return F.scaled_dot_product_attention(query, key, value, bias, scale=softmax_scale)
