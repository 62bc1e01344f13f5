"""StyleGallery: the three stages, one call each. Start reading here."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from stylegallery.contract import Energy, Item, Match, Progress, Silent, Stylization
from stylegallery.draws import derived, seed_of_run
from stylegallery.errors import require
from stylegallery.extras.detail import enlarge
from stylegallery.extras.recolouring import recolour
from stylegallery.files import notice
from stylegallery.guidance import GuidanceConfig, guidance_timesteps, guided_layers, optimise
from stylegallery.images import read_image, resize
from stylegallery.matching import MatchingConfig, describe, match, numbered
from stylegallery.memory import require_memory
from stylegallery.models.unet import DiffusionModel
from stylegallery.regions import mask_on_grid, read_published_mask
from stylegallery.segmentation import Segmentation, SegmentationConfig, find_regions
from stylegallery.settings import Resolution, Share, check, checked
from stylegallery.stopwatch import Stopwatch


@dataclass(frozen=True)
class Plan:
    """What stages 1 and 2 decide of an item: content first, then the references, in `images` and `analyses`."""

    images: list[Tensor]
    analyses: list[Segmentation]
    matches: list[Match]


class StyleGallery:
    """Training-free, semantic-aware style transfer from any number of references (CVPR 2026, arXiv 2603.10354)."""

    @checked
    def __init__(
        self,
        model: DiffusionModel,
        encoder: Callable[[Tensor], Tensor],
        segmentation: SegmentationConfig,
        matching: MatchingConfig,
        guidance: GuidanceConfig,
        resolution: Resolution,
        resizing: Literal["square", "keep"],
        recolouring: Share = 0.0,
        depth: Callable[[Tensor], Tensor] | None = None,
        segmenter: Callable[[Tensor], Tensor] | None = None,
        output_size: Literal["model", "content"] = "model",
        detail: Share = 0.0,
    ) -> None:
        require(resolution >= 4 * model.stride, f"resolution is at least {4 * model.stride}", resolution)
        starts = recolouring == 0 or guidance.extras.initial == "content"
        require(
            starts,
            "recolouring needs guidance.extras.initial=content, where its colours are what is optimised",
            recolouring,
        )
        guided_layers(model, guidance)  # what stage 3 cannot work with is refused before stage 1
        guidance_timesteps(model, guidance)
        cells, (smallest, largest) = (resolution // model.stride) ** 2, segmentation.clusters
        if segmenter is None and smallest < largest:  # for silhouettes: nothing else grows with the square of cells
            require_memory(4 * cells**2, f"the distances between all {cells:,} cells of a picture")
        if guidance.extras.initial == "inverted" and not model.paints_from_noise:
            notice("this model cannot paint from noise: StyleGallery.from_config() has the settings it needs")
        self.model, self.encoder, self.recolouring = model, encoder, recolouring
        self.depth, self.segmenter = depth, segmenter
        self.output_size, self.detail = output_size, detail
        self.segmentation, self.matching, self.guidance = segmentation, matching, guidance
        self.resolution, self.resizing = resolution, resizing

    @classmethod
    def from_config(cls, *overrides: str) -> "StyleGallery":
        """The method as the command line builds it, with settings as there: "model=sd15", "encoder=dinov2".

        Raises:
            InputError: a setting cannot be used, or weights are not on this machine.
        """
        from hydra import compose, initialize_config_dir
        from hydra.errors import InstantiationException
        from hydra.utils import instantiate
        from omegaconf import OmegaConf

        from stylegallery.overrides import CONFIGS, in_one_sentence

        with in_one_sentence(overrides), initialize_config_dir(str(CONFIGS), version_base="1.3"):
            settings: Any = OmegaConf.to_container(compose("config", overrides=list(overrides)).method, resolve=True)
        check(settings, "method")
        try:
            method: StyleGallery = instantiate(settings, _convert_="all")
        except InstantiationException as error:  # hydra's wrapping of what a constructor raises
            raise error.__cause__ or error from None
        return method

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        """Stylise one item; every draw comes from `generator`.

        Raises:
            InputError: a picture, mask, pin or veto of the item cannot be used.
        """
        watch = Stopwatch(self.model.device)
        plan = self.plan(item, generator, progress, watch)
        with watch("guidance"):
            image, energies = self.render(plan, progress)
        content, *references = plan.analyses
        if self.output_size == "content":
            with watch("detail"):
                image = enlarge(image, read_image(item.content), self.model.decode(content.latent).cpu(), self.detail)
        return Stylization(
            image=image,
            content=plan.images[0],
            references=plan.images[1:],
            content_labels=content.labels,
            reference_labels=[analysis.labels for analysis in references],
            matches=plan.matches,
            energies=energies,
            seconds=watch.seconds,
            peak_memory_mib=watch.peak_memory_mib(),
        )

    def plan(
        self, item: Item, generator: torch.Generator, progress: Progress = Silent(), watch: Stopwatch | None = None
    ) -> Plan:
        """Stages 1 and 2: the regions of every picture and where each content region takes its style from.

        What is drawn for a picture comes from the run's seed and its pixels alone.

        Raises:
            InputError: as `stylize`.
        """
        watch = watch or Stopwatch(self.model.device)
        images, masks, seeds = [], [], []
        for path, mask_path in zip((item.content, *item.references), item.masks(), strict=True):
            picture = read_image(path)
            seeds.append(derived(seed_of_run(generator), picture))
            images.append(resize(picture, self.resolution, self.resizing, self.model.stride))
            masks.append(self.read_mask(mask_path, picture, images[-1]) if mask_path else None)

        # Stage 1: semantic regions of every picture (paper §3.1)
        with watch("segmentation"):
            advance = progress.stage("1 regions", self.segmentation.inversion_steps * len(images))
            analyses = []
            for image, mask, seed in zip(images, masks, seeds, strict=True):
                depth = self.depth(image) if self.depth else None
                proposals = self.segmenter(image) if self.segmenter else None
                analyses.append(
                    find_regions(self.model, image, self.segmentation, seed, mask, depth, proposals, advance)
                )

        # Stage 2: the best region of any reference for every content region (paper §3.2)
        with watch("matching"):
            advance = progress.stage("2 matches", len(images))
            descriptors, seed = [], derived(seed_of_run(generator))  # one for all pictures: they are compared
            for image, analysis in zip(images, analyses, strict=True):
                labels, features = analysis.labels, analysis.features
                descriptors.append(describe(labels, features, image, self.encoder, self.matching, seed))
                advance()
            constraints = numbered(item.constraints, [found.labels for found in analyses])
            seed = int(torch.randint(2**31, (1,), generator=generator))
            matches = match(descriptors[0], descriptors[1:], self.matching, constraints, seed)

        return Plan(images, analyses, matches)

    def read_mask(self, path: Path, picture: Tensor, image: Tensor) -> Tensor:
        """The user's label map on the latent grid (h, w), for a picture (1, 3, H, W) as it was and as the model sees
        it."""
        if self.segmentation.masks == "published":
            return read_published_mask(path)
        sizes = [(shown.shape[-2], shown.shape[-1]) for shown in (picture, image)]
        return mask_on_grid(path, sizes, (sizes[1][0] // self.model.stride, sizes[1][1] // self.model.stride))

    def render(self, plan: Plan, progress: Progress = Silent()) -> tuple[Tensor, list[Energy]]:
        """Stage 3: optimise the latent under the regional energy (paper §3.3).

        Returns the stylised image (1, 3, H, W) and the energy of every update.
        """
        content, *references = plan.analyses
        if self.recolouring > 0:
            labels = [analysis.labels for analysis in plan.analyses]
            coloured = recolour(plan.images[0], labels[0], plan.images[1:], labels[1:], plan.matches, self.recolouring)
            content = replace(content, latent=self.model.encode(coloured))
        updates = len(guidance_timesteps(self.model, self.guidance)) * self.guidance.iterations
        advance = progress.stage("3 energy", updates)
        latent, energies = optimise(self.model, content, references, plan.matches, self.guidance, advance)
        return self.model.decode(latent).cpu(), energies
