"""StyleGallery: analyse every picture, match their regions, render. Start reading here."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stylegallery.analysis import Analyser, Analysis
from stylegallery.constraints import numbered
from stylegallery.contract import Energy, Item, MatchConstraints, Progress, Region, Silent, Stylization
from stylegallery.decoding import Picture
from stylegallery.descriptors import described
from stylegallery.draws import generator_of, seed_of_run
from stylegallery.errors import InputError, require
from stylegallery.extras.contrast import match_contrast
from stylegallery.extras.detail import enlarge
from stylegallery.extras.recolouring import recolour
from stylegallery.extras.time_budget import steps_within
from stylegallery.files import notice
from stylegallery.guidance import (
    GuidanceConfig,
    Scene,
    ended,
    guidance_timesteps,
    guided_layers,
    optimise_together,
    updates_together,
)
from stylegallery.images import read_image
from stylegallery.matching import MatchingConfig, best_matches
from stylegallery.memory import require_memory
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.overrides import composed
from stylegallery.plan import Plan
from stylegallery.segmentation import SegmentationConfig
from stylegallery.settings import Count, Resolution, Seconds, Share, check, checked, located
from stylegallery.shared_attention import SharedAttention
from stylegallery.stopwatch import Stopwatch
from stylegallery.store import AnalysisStore


class Update(NamedTuple):
    """A step of `render_stepwise`: the energy of every update so far, of how many; `picture` gives the picture now as
    (1, 3, H, W), and `result` what `render` gives that stops after this update. Either is computed when called."""

    energies: tuple[Energy, ...]
    updates: int
    picture: Callable[[], Tensor]
    result: Callable[[], Stylization]


class StyleGallery:
    """Training-free, semantic-aware style transfer from any number of references (CVPR 2026, arXiv 2603.10354)."""

    draws_for_items = False  # `analyse` draws for a picture, and `match` only where assignment=random

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
        # Extras; all but depth are not in the paper, and each has its file in extras/.
        recolouring: Share,
        contrast: Share,
        output_size: Literal["model", "content"],
        detail: Share,
        batch: Count,  # items whose latents share the network's calls, where a benchmark runs many
        time_budget: Seconds | None = None,
        depth: Callable[[Tensor], Tensor] | None = None,
        segmenter: Callable[[Tensor], Tensor] | None = None,
        store: AnalysisStore | None = None,  # where analyses are kept for other runs
    ) -> None:
        require(resolution >= 4 * model.multiple, f"resolution is at least {4 * model.multiple}", resolution)
        allowed = recolouring == 0 or guidance.extras.initial == "content"
        require(
            allowed,
            "recolouring needs guidance.extras.initial=content, where its colours are what is optimised",
            recolouring,
        )
        guided_layers(model, guidance)  # what stage 3 cannot work with is refused before stage 1
        guidance_timesteps(model, guidance)
        alone = batch == 1 or time_budget is None
        require(alone, "batch is 1 with a time budget, which is that of one item", batch)
        cells, (smallest, largest) = (resolution // model.stride) ** 2, segmentation.clusters
        if segmenter is None and smallest < largest:  # for silhouettes: nothing else grows with the square of cells
            require_memory(4 * cells**2, f"the distances between all {cells:,} cells of a picture")
        if guidance.extras.initial == "inverted" and not model.paints_from_noise:
            notice("this model cannot paint from noise: StyleGallery.from_config() has the settings it needs")
        self.model, self.segmentation, self.matching, self.guidance = model, segmentation, matching, guidance
        self.recolouring, self.contrast, self.output_size, self.detail = recolouring, contrast, output_size, detail
        self.time_budget = None if time_budget is None else float(str(time_budget).removesuffix("s"))
        self.shared = SharedAttention(model, guidance.shared_mib)
        self.analyser = Analyser(model, encoder, segmentation, matching, resolution, resizing, depth, segmenter, store)

    @classmethod
    def from_config(cls, *overrides: str) -> "StyleGallery":
        """The method as the command line builds it, with settings as there: "model=sd15", "encoder=dinov2". Pictures,
        masks and the seed are what `analyse` takes, pins what `match` takes.

        Raises:
            InputError: a setting cannot be used, or weights are not on this machine.
        """
        from hydra.errors import InstantiationException
        from hydra.utils import instantiate

        settings, store = composed(overrides)
        check(settings, "method")
        made = located(settings["_target_"], "method")
        of_this_class = isinstance(made, type) and issubclass(made, cls)
        require(of_this_class, "method= is stylegallery or a variant of it here", settings["_target_"])
        try:
            method: StyleGallery = instantiate(
                settings, _convert_="all", store=instantiate(store)(settings) if store else None
            )
        except InstantiationException as error:  # hydra's wrapping of what a constructor raises
            raise error.__cause__ or error from None
        return method

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        """Stylise one item: `analyse` its pictures, `match` them, `render`. `generator` says the seed of the run.

        Raises:
            InputError: a picture, mask, pin or veto of the item cannot be used.
        """
        watch = Stopwatch(self.model.device)
        return self.render(self.plan(item, generator, progress, watch), progress, watch)

    def stylize_together(
        self, items: Sequence[Item], generators: Sequence[torch.Generator], progress: Progress = Silent()
    ) -> list[Stylization]:
        """`stylize` of several items, whose latents share the network's calls where their shapes are equal."""
        watches = [Stopwatch(self.model.device) for _ in items]
        given = zip(items, generators, watches, strict=True)
        plans = [self.plan(item, generator, progress, watch) for item, generator, watch in given]
        results: dict[int, Stylization] = {}
        shapes = [plan.content.segmentation.latent.shape for plan in plans]
        for shape in dict.fromkeys(shapes):
            same = [i for i, other in enumerate(shapes) if other == shape]
            rendered = self.render_together([plans[i] for i in same], progress, [watches[i] for i in same])
            results |= dict(zip(same, rendered, strict=True))
        return [results[i] for i in range(len(items))]

    def plan(
        self, item: Item, generator: torch.Generator, progress: Progress = Silent(), watch: Stopwatch | None = None
    ) -> Plan:
        """Stages 1 and 2 of an item. All its new pictures are read before the first is analysed."""
        watch, pictures = watch or Stopwatch(self.model.device), (item.content, *item.references)
        pairs = list(zip(pictures, item.masks(), strict=True))
        content, *references = self.analyser(pairs, seed_of_run(generator), progress, watch)
        advance = progress.stage("2 matches", 1)
        with watch("matching"):
            plan = self.match(content, references, item.constraints)
        advance()
        return plan

    def analyse(
        self, picture: Picture, mask: str | Path | None = None, seed: int = 0, progress: Progress = Silent()
    ) -> Analysis:
        """Stages 1 and 2 as far as they look at one picture: its regions (paper §3.1) and what describes them (§3.2).

        `mask` is a file of the user's regions. What is drawn comes from the seed and the picture's pixels alone.

        Raises:
            InputError: the picture or the mask cannot be used.
        """
        (found,) = self.analyser([(picture, mask)], seed, progress)
        return found

    def with_regions(self, analysis: Analysis, labels: Tensor) -> Analysis:
        """The analysis that a mask of these regions gives, labels (h, w) from 1 to R without gaps.

        Nothing is clustered again; with a store, nothing is inverted again.

        Raises:
            InputError: the labels are no such map of this picture's grid.
        """
        return self.analyser.with_regions(analysis, labels)

    def match(
        self,
        content: Analysis,
        references: Sequence[Analysis],
        constraints: MatchConstraints[Region] = MatchConstraints(),
    ) -> Plan:
        """Stage 2: the best region of any reference for every content region (paper §3.2).

        No picture is analysed again; what is drawn comes from the seed and the pixels of all pictures.

        Raises:
            InputError: a constraint names what is not there or leaves a region without a match, or the pictures were
                analysed with several seeds.
        """
        analyses, seed = [content, *references], 0
        if not references:
            raise InputError("references is empty; match with at least one analysis")
        if len(seeds := {analysis.run_seed for analysis in analyses}) > 1:
            raise InputError(
                f"these pictures were analysed with the seeds {sorted(seeds)}; analyse all with one of them"
            )
        if self.matching.assignment == "random":
            generator = generator_of(content.run_seed, [analysis.source for analysis in analyses])
            seed = int(torch.randint(2**31, (1,), generator=generator))
        by_number = numbered(constraints, analyses)
        store = self.analyser.store
        offered = described(references, store.analyses if store else None)
        matches = best_matches(content.descriptors, offered, self.matching, by_number, seed)
        return Plan(content, list(references), matches)

    def render(self, plan: Plan, progress: Progress = Silent(), watch: Stopwatch | None = None) -> Stylization:
        """Stage 3: optimise the latent under the regional energy (paper §3.3), and decode it.

        A time budget counts from the start of the watch; in `stylize` that is before stage 1.

        Raises:
            FloatingPointError: energy, gradient or picture are not finite.
        """
        (result,) = self.render_together([plan], progress, [watch or Stopwatch(self.model.device)])
        return result

    def render_together(
        self, plans: Sequence[Plan], progress: Progress, watches: Sequence[Stopwatch]
    ) -> list[Stylization]:
        """`render` of plans whose contents have one shape, in shared calls of the network: up to rounding the same."""
        used, (watch, *others) = [plan.of_matched() for plan in plans], watches
        with watch("guidance", others):
            scenes = [self.scene(plan) for plan in used]
            guidance = self.guidance
            if self.time_budget is not None:
                guidance = self.within(self.time_budget - watch.elapsed(), used[0], scenes[0])
            advances = [progress.stage("3 energy", self.updates(guidance)) for _ in plans]
            found = optimise_together(self.model, scenes, guidance, advances, self.shared)
            images = [self.model.decode(latent).cpu() for latent, _ in found]
        if self.contrast > 0 or self.output_size == "content":
            with watch("detail", others):
                images = [self.detailed(plan, image) for plan, image in zip(used, images, strict=True)]
        return [
            plan.with_image(image, energies, own, guidance.steps)
            for plan, image, (_, energies), own in zip(plans, images, found, watches, strict=True)
        ]

    def render_stepwise(self, plan: Plan) -> Generator[Update]:
        """`render`, one update at a time: whoever stops asking has the result so far, and may ask for the next later.

        A time budget has no effect here.

        Raises:
            FloatingPointError: as `render`.
        """
        used = plan.of_matched()
        scene = self.scene(used)
        updates = self.updates(self.guidance)

        def result(latent: Tensor, energies: tuple[Energy, ...]) -> Stylization:
            image = self.decoded(used, ended(self.model, scene, latent, self.guidance))
            return plan.with_image(image, energies, steps=self.guidance.steps)

        for ((latent, energies),) in updates_together(self.model, [scene], self.guidance, self.shared):
            so_far = tuple(energies)
            yield Update(so_far, updates, partial(self.model.decode, latent), partial(result, latent, so_far))

    # --- what the stages are made of ---

    def scene(self, plan: Plan) -> Scene:
        """What stage 3 sees of a plan: its content with the colours of its matches."""
        content, *references = [analysis.segmentation for analysis in plan.analyses]
        if self.recolouring > 0:
            content = replace(content, latent=self.model.encode(self.recoloured(plan)))
        return Scene(content, references, plan.matches)

    def within(self, seconds: float, plan: Plan, scene: Scene) -> GuidanceConfig:
        """The settings of stage 3 with as many steps as `seconds` allow."""
        finish = partial(self.decoded, plan, scene.content.latent)
        steps = steps_within(seconds, finish, self.model, *scene, self.guidance)
        return replace(self.guidance, steps=steps)

    def updates(self, guidance: GuidanceConfig) -> int:
        """How many stage 3 makes with these settings, where it does not end early."""
        return guidance.extras.most(len(guidance_timesteps(self.model, guidance)) * guidance.iterations)

    def decoded(self, plan: Plan, latent: Tensor) -> Tensor:
        """The picture (1, 3, H, W) of a stylised latent, as `render` gives it."""
        return self.detailed(plan, self.model.decode(latent).cpu())

    def detailed(self, plan: Plan, image: Tensor) -> Tensor:
        """A decoded result (1, 3, H, W) with the contrast of its references, and in the size that was asked for."""
        if self.contrast > 0:
            references = [analysis.image for analysis in plan.references]
            image = match_contrast(image, plan.content.labels, references, plan.matches, self.contrast)
        if self.output_size == "content":
            carried = self.model.decode(plan.content.segmentation.latent).cpu()
            image = enlarge(image, read_image(plan.content.source), carried, self.detail)
        return image

    def recoloured(self, plan: Plan) -> Tensor:
        """The content's picture with the colours of its matches."""
        images, labels = ([getattr(one, name) for one in plan.analyses] for name in ("image", "labels"))
        return recolour(images[0], labels[0], images[1:], labels[1:], plan.matches, self.recolouring)
