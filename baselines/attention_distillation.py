"""Attention Distillation, style transfer by optimisation (Zhou et al., CVPR 2025, arXiv 2502.20235).

Official code: xugao97/AttentionDistillation at 142800c (MIT), its `optimize` mode; nothing of it is here. Settings as
published: Stable Diffusion 1.5, null prompt, 200 DDIM timesteps that only condition the UNet (no noise is added), one
Adam update each with learning rate 0.05, layers 10 to 15, content weight 0.25, latents in float32, start at the
content's latent. Latents are posterior means; no random numbers are used.

Several references are native: their keys and values are joined along the tokens, one softmax over all of them.
Masks: a cell attends only to reference cells of the same index (grey and palette pictures), colour or labelme label,
background included; a reference without a mask is background. Masks on one side only have no effect, as
published. Match constraints of an item are ignored.

What differs: UNet in `model.dtype` (published default bfloat16); pictures resized by `resizing` (published: 512x512);
references may have different sizes, those of one size share a UNet call as published; masks need no square latents; a
label that the masks of the references lack is an error (published: attention output 0), and one that vanishes on the
coarser grid of a layer takes no part in that layer. The VAE decoder is not fine-tuned (optional, off as published).
Slips of the published code are not reproduced. Its optional content terms are `attention_map` (weight about 200) and
`output` (weight about 1). `recolouring` (the content takes the pooled colours of the references first, as StyleGallery
does on that model), `highest_timestep` and `projection_timestep` are ours, for the embedded model.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.inputs import PictureReader
from stylegallery.colour_statistics import monge_kantorovich
from stylegallery.contract import Energy, Item, Progress, Silent, Stylization
from stylegallery.decoding import open_image
from stylegallery.errors import InputError, require
from stylegallery.fixed_attention import FixedAttention
from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import Execution, minimise
from stylegallery.regions import flat_labels, mask_on_grid, named_regions
from stylegallery.settings import Count, NotNegative, Number, Positive, Resolution, Share, Steps, Timestep, checked
from stylegallery.stopwatch import Stopwatch

ContentTerm = Literal["query", "attention_map", "output"]


class Masks(NamedTuple):
    """Label maps int64 (h, w) on the latent grids of the content and of every reference; equal labels belong together,
    0 is a label like the others."""

    content: Tensor
    references: list[Tensor]


class AttentionDistillation:
    """`layers` is the first self-attention layer, in execution order, and the one after the last."""

    @checked
    def __init__(
        self,
        model: DiffusionModel,
        resolution: Resolution,
        resizing: Literal["square", "keep"],
        steps: Steps,
        iterations: Count,
        learning_rate: Positive,
        content_weight: NotNegative,
        content_term: ContentTerm,
        attention_scale: NotNegative,
        layers: Sequence[int],
        recolouring: Share,
        highest_timestep: Number,
        projection_timestep: Timestep,
    ) -> None:
        self.layers = model.layer_range(layers)
        self.model, self.iterations, self.learning_rate = model, iterations, learning_rate
        self.content_weight, self.content_term, self.attention_scale = content_weight, content_term, attention_scale
        self.recolouring, self.projection_timestep = recolouring, projection_timestep
        self.timesteps = [timestep for timestep in model.timesteps(steps) if timestep <= highest_timestep]
        require(bool(self.timesteps), f"highest_timestep leaves one of {steps} timesteps", highest_timestep)
        self.read = PictureReader(resolution, resizing, model.multiple)

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        """Stylise one item."""
        content, references = self.read(item)
        watch = Stopwatch(self.model.device)
        advance = progress.stage("energy", len(self.timesteps) * self.iterations)
        energies = []
        with watch("energy"):
            coloured = monge_kantorovich(content, references).clamp(0, 1) if self.recolouring else content
            source = torch.lerp(content, coloured, self.recolouring)
            start, *styles = (self.model.encode(image) for image in (source, *references))
            latent = start
            masks = read_masks(item, [content, *references], [start, *styles])
            for update, (energy,) in self.optimise(start, start, styles, masks):
                latent = update
                energies.append(energy)
                advance(energy, partial(self.model.decode, update))
            if self.projection_timestep > 0:
                latent = self.model.project(latent, self.projection_timestep)
            image = self.model.decode(latent).cpu()
        return Stylization(image, content, references, energies=energies, **watch.costs())

    def optimise(
        self, start: Tensor, content: Tensor | None, references: Sequence[Tensor], masks: Masks | None = None
    ) -> Iterator[tuple[Tensor, list[Energy]]]:
        """The latents (B, C, h, w) after every update, and the one energy of all before it.

        `content` (1, C, h, w) and `references` (1, C, h', w') are clean latents; without content its term is 0.
        Content features come from a UNet call of their own: batched with others their rounding would differ from
        the optimised latent's, and the gradient of an L1 term at 0 is that rounding's sign.
        """

        # The labels of masks are looked at in every update, which a replay cannot do.
        replayed = Execution.on(self.model.device).replayed and masks is None
        losses = DistillationLosses(self, content, references, masks, replayed)
        rate, weights = self.learning_rate, (1.0, self.content_weight)
        return minimise(start, self.timesteps, self.iterations, losses, lambda _: rate, *weights, replayed=replayed)


class DistillationLosses:
    """What `minimise` lowers; the arguments are those of `AttentionDistillation.optimise`, and how it is done."""

    def __init__(
        self,
        method: AttentionDistillation,
        content: Tensor | None,
        references: Sequence[Tensor],
        masks: Masks | None,
        replayed: bool,
    ) -> None:
        self.method, self.masks = method, masks
        batches = [references, [] if content is None else [content]]
        of_each = partial(method.model.self_attention_of_each, layers=method.layers)
        self.fixed = FixedAttention(batches, of_each, method.timesteps, replayed=replayed)
        self.prepare = self.fixed.take

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        attention = self.method.model.self_attention(latents, self.fixed.timestep, self.method.layers)
        styles, contents = self.fixed.layers
        style = style_loss(attention, styles, self.method.attention_scale, self.masks)
        if not contents:
            return style, torch.zeros_like(style)
        return style, content_loss(attention, contents[0], self.method.content_term)


def style_loss(
    attention: Sequence[SelfAttention],
    references: Sequence[Sequence[SelfAttention]],
    scale: float = 1.0,
    masks: Masks | None = None,
) -> Tensor:
    """L_AD = Σ_layers mean |out − target| (paper eq. 4); `references` holds the layers of every reference."""
    differences = [
        (layer.output - attention_target(layer, styles, scale, masks)).abs().mean()
        for layer, *styles in zip(attention, *references, strict=True)
    ]
    return torch.stack(differences).sum()


@torch.no_grad()
def attention_target(
    layer: SelfAttention, references: Sequence[SelfAttention], scale: float = 1.0, masks: Masks | None = None
) -> Tensor:
    """softmax(scale · Q K_sᵀ / √D) V_s over the tokens of all references, (B, H, tokens, D), no gradient.

    With masks a query meets the keys of its own label; where there is none the target is the output itself.
    """
    joined = (torch.cat(tensors, dim=2) for tensors in zip(*references, strict=True))
    joint = SelfAttention(*(tensor.expand(len(layer.query), -1, -1, -1) for tensor in joined))
    softmax_scale = scale / layer.query.shape[-1] ** 0.5
    if masks is None:
        return F.scaled_dot_product_attention(layer.query, joint.key, joint.value, scale=softmax_scale)
    labels = flat_labels(masks.content, layer.query.shape[2])
    key_labels = torch.cat(
        [
            flat_labels(mask, reference.key.shape[2])
            for mask, reference in zip(masks.references, references, strict=True)
        ]
    )
    target = layer.output.clone()
    for label in labels.unique():
        inside, keys = labels == label, key_labels == label
        if keys.any():
            target[:, :, inside] = F.scaled_dot_product_attention(
                layer.query[:, :, inside], joint.key[:, :, keys], joint.value[:, :, keys], scale=softmax_scale
            )
    return target


def content_loss(
    attention: Sequence[SelfAttention], content: Sequence[SelfAttention], term: ContentTerm = "query"
) -> Tensor:
    """Σ_layers mean |difference| of the layers now and of the content's, by one of CONTENT_TERMS."""
    difference = CONTENT_TERMS[term]
    pairs = zip(attention, content, strict=True)
    return torch.stack([difference(layer, kept).abs().mean() for layer, kept in pairs]).sum()


def attention_map(layer: SelfAttention) -> Tensor:
    """softmax(Q Kᵀ / √D)."""
    return (layer.query @ layer.key.mT / layer.query.shape[-1] ** 0.5).softmax(-1)


CONTENT_TERMS: dict[ContentTerm, Callable[[SelfAttention, SelfAttention], Tensor]] = {
    "query": lambda layer, kept: layer.query - kept.query,
    "attention_map": lambda layer, kept: attention_map(layer) - attention_map(kept).detach(),
    "output": lambda layer, kept: F.scaled_dot_product_attention(layer.query, layer.key, kept.value) - kept.output,
}


def read_masks(item: Item, images: Sequence[Tensor], latents: Sequence[Tensor]) -> Masks | None:
    """The item's masks on the grids of the latents, content first; None if one side has no mask.

    Raises:
        InputError: a mask is unreadable or not its picture's, or the content's has a label that no reference has.
    """
    if item.mask is None or not any(item.masks()[1:]):
        return None
    numbers = {"background": 0}  # by what a label is called in the files, so that it means the same in every picture
    maps = []
    pictures = (item.content, *item.references)
    for path, picture, image, latent in zip(item.masks(), pictures, images, latents, strict=True):
        height, width = latent.shape[-2:]
        if path is None:
            maps.append(torch.zeros(height, width, dtype=torch.int64))
            continue
        original = open_image(picture).size[::-1]
        labels = mask_on_grid(path, [original, (image.shape[-2], image.shape[-1])], (height, width))
        names = named_regions(path)[1]
        maps.append(torch.tensor([0, *(numbers.setdefault(name, len(numbers)) for name in names)])[labels])
    known = torch.cat([labels.flatten() for labels in maps[1:]])
    for name, number in numbers.items():
        if (maps[0] == number).any() and not (known == number).any():
            raise InputError(f"{name} of the mask {item.mask} is in no mask of a reference; paint it in one of them")
    return Masks(maps[0], maps[1:])
