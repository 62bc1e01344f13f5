"""Stages 1 and 2 as far as they look at one picture: what is known of it, found once and kept in a store."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stylegallery.contract import Advance, Progress, Silent, ignored
from stylegallery.decoding import Picture
from stylegallery.descriptors import read
from stylegallery.draws import derived
from stylegallery.errors import InputError
from stylegallery.images import read_image, resize
from stylegallery.inversion import Inversion, invert
from stylegallery.matching import MatchingConfig, RegionDescriptors, describe
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.provenance import file_digest
from stylegallery.regions import mask_on_grid, read_published_mask
from stylegallery.segmentation import Segmentation, SegmentationConfig, find_regions
from stylegallery.stopwatch import Stopwatch
from stylegallery.store import AnalysisStore, digest

# The tensors of an entry, see `store.have_forms`.
INVERSION = {"latent": "float 1 C h w", "inverted": "float 1 C h w", "features": "float D h w"}
REGIONS = {"labels": "int64 h w", "latent": "float 1 C h w", "inverted": "float 1 C h w"}
HELD = 32  # pictures whose pixels stay in memory; where there are more, the others are read again when they are needed


class Input(NamedTuple):
    """A picture that was read: as it was given, with the file of its user's mask, as the model sees it (1, 3, H, W),
    the mask as a label map (h, w), what is drawn for it comes from: the seed of the run, and one of its own, and the
    name of its entry in the store, empty without one."""

    source: Picture
    mask: str | Path | None
    image: Tensor
    labels: Tensor | None
    run_seed: int
    seed: int
    key: str


@dataclass(frozen=True)
class Analysis:
    """All that stages 1 and 2 know of a picture, whatever other pictures it is matched with.

    source is the picture as it was given, run_seed what its draws began with. The rest is asked for when it is needed,
    and need not be in memory before: where thousands are offered, few are matched. Those few keep their picture and
    regions from then on; descriptors are read each time.
    """

    source: Picture
    run_seed: int
    get_descriptors: Callable[[], RegionDescriptors]
    get_image: Callable[[], Tensor]
    get_segmentation: Callable[[], Segmentation]
    key: str = ""  # of its entry in the store, where that is what it is read from

    @property
    def descriptors(self) -> RegionDescriptors:
        return self.get_descriptors()

    @cached_property
    def image(self) -> Tensor:
        """The picture (1, 3, H, W) as the model sees it."""
        return self.get_image()

    @cached_property
    def segmentation(self) -> Segmentation:
        return self.get_segmentation()

    @property
    def labels(self) -> Tensor:
        """The region map (h, w)."""
        return self.segmentation.labels


@dataclass(frozen=True)
class Analyser:
    """Reads and analyses pictures. With a store no picture is inverted, or analysed, that was before."""

    model: DiffusionModel
    encoder: Callable[[Tensor], Tensor]
    segmentation: SegmentationConfig
    matching: MatchingConfig
    resolution: int
    resizing: Literal["square", "keep"]
    depth: Callable[[Tensor], Tensor] | None = None
    segmenter: Callable[[Tensor], Tensor] | None = None
    store: AnalysisStore | None = None

    def read(self, picture: Picture, mask: str | Path | None = None, seed: int = 0) -> Input:
        """A picture and its user's mask. Raises InputError where one of them cannot be used."""
        key, original = self.key(picture, mask, seed), read_image(picture)
        image = resize(original, self.resolution, self.resizing, self.model.multiple)
        labels = self.read_mask(mask, original.shape[-2:], image.shape[-2:]) if mask else None
        return Input(picture, mask, image, labels, seed, derived(seed, original), key)

    def read_mask(self, mask: str | Path, original: Sequence[int], seen: Sequence[int]) -> Tensor:
        """The label map of a user's mask, of a picture of the original size (H, W) that the model sees in another one.
        Raises InputError where it cannot be used."""
        if self.segmentation.masks == "published":
            return read_published_mask(Path(mask))
        (height, width), stride = seen, self.model.stride
        sizes = [(original[0], original[1]), (height, width)]
        return mask_on_grid(Path(mask), sizes, (height // stride, width // stride))

    def __call__(
        self,
        pictures: Sequence[tuple[Picture, str | Path | None]],
        seed: int,
        progress: Progress = Silent(),
        watch: Stopwatch | None = None,
    ) -> list[Analysis]:
        """The analyses of pictures, each with its user's mask if it has one, in a run of this seed.

        All that the store does not have are read before the first is analysed, and those alone are steps of the stage
        that `progress` is told of.

        Raises:
            InputError: a picture or a mask cannot be used.
        """
        watch, found = watch or Stopwatch(self.model.device), dict[int, Analysis]()
        shapes, held = dict[int, torch.Size](), dict[int, Input]()
        for index, (picture, mask) in enumerate(pictures):
            with watch("segmentation"):
                kept = self.kept(picture, mask, seed)
            if kept:
                found[index] = kept
            else:
                given = self.read(picture, mask, seed)
                shapes[index] = given.image.shape
                if len(held) < HELD:
                    held[index] = given
        advance = progress.stage("1 regions", self.segmentation.inversion_steps * len(shapes))
        for group in self.groups(shapes):
            inputs = [held.pop(i) if i in held else self.read(*pictures[i], seed) for i in group]
            for index, analysis in zip(group, self.together(inputs, advance, watch), strict=True):
                many = len(shapes) > HELD
                found[index] = (self.kept(*pictures[index], seed) if many else None) or analysis
        return [found[index] for index in range(len(pictures))]

    def groups(self, shapes: dict[int, torch.Size]) -> list[list[int]]:
        """The places of pictures that are inverted together, as they are of one shape."""
        size, alike = self.segmentation.inversion_batch, dict[torch.Size, list[int]]()
        for index, shape in shapes.items():
            alike.setdefault(shape, []).append(index)
        return [places[first : first + size] for places in alike.values() for first in range(0, len(places), size)]

    def skip(self, pictures: int, advance: Advance) -> None:
        """Tell that so many pictures need not be inverted."""
        for _ in range(self.segmentation.inversion_steps * pictures):
            advance()

    def together(self, inputs: list[Input], advance: Advance, watch: Stopwatch) -> list[Analysis]:
        """The analyses of pictures of one shape, which are inverted in one batch."""
        with ExitStack() as turn:
            with watch("segmentation"):
                if self.store:
                    turn.enter_context(
                        self.store.inversions.turn(self.store.inversion_key(one.image) for one in inputs)
                    )
                    # What another process did meanwhile.
                    if all(kept := [self.kept(given.source, given.mask, given.run_seed) for given in inputs]):
                        self.skip(len(inputs), advance)
                        return [one for one in kept if one]
                inversions = self.inverted([given.image for given in inputs], advance)
            # F_mix of a picture is freed when it is described.
            return [self.analysed(given, inversions.pop(0), watch) for given in inputs]

    def inverted(self, images: Sequence[Tensor], advance: Advance = ignored) -> list[Inversion]:
        """The inversions of images (1, 3, H, W) of one shape: those that the store has, and the others in one batch."""
        steps, store = self.segmentation.inversion_steps, self.store
        if store is None:
            return invert(self.model, images, steps, advance)
        keys, found = [store.inversion_key(image) for image in images], dict[str, Inversion]()
        for key in dict.fromkeys(keys):
            if kept := store.inversions.get(key, INVERSION):
                found[key] = Inversion(**{name: tensor.to(self.model.device) for name, tensor in kept.items()})
        missing = {key: image for key, image in zip(keys, images, strict=True) if key not in found}
        self.skip(len(keys) - len(missing), advance)
        if missing:
            for key, inversion in zip(missing, invert(self.model, [*missing.values()], steps, advance), strict=True):
                store.inversions.put(key, inversion._asdict())
                found[key] = inversion
        return [found[key] for key in keys]

    def analysed(self, given: Input, inversion: Inversion, watch: Stopwatch) -> Analysis:
        """The analysis of a picture from its inversion on."""
        with watch("segmentation"):
            depth = self.depth(given.image) if self.depth else None
            proposals = self.segmenter(given.image) if self.segmenter else None
            found = find_regions(inversion, given.image, self.segmentation, given.seed, given.labels, depth, proposals)
        with watch("matching"):
            seed = derived(given.run_seed)  # one for all pictures: what is drawn with it is compared
            descriptors = describe(found.labels, inversion.features, given.image, self.encoder, self.matching, seed)
        if self.store and given.key:
            self.require_unchanged(given.source, given.mask, given.run_seed, given.key)
            tensors = {"labels": found.labels, "latent": found.latent, "inverted": found.inverted}
            described = {name: torch.as_tensor(values) for name, values in vars(descriptors).items()}
            self.store.analyses.put(given.key, tensors | described)
        return Analysis(given.source, given.run_seed, lambda: descriptors, lambda: given.image, lambda: found)

    def with_regions(self, analysis: Analysis, labels: Tensor) -> Analysis:
        """See `StyleGallery.with_regions`."""
        grid, present = analysis.labels.shape, torch.unique(labels).tolist()
        if labels.shape != grid or labels.dtype != torch.int64 or present != [*range(1, len(present) + 1)]:
            raise InputError(
                f"regions are an int64 map {tuple(grid)} of the numbers 1..R, not {labels.dtype} {tuple(labels.shape)} "
                f"of {present[:5]}"
            )
        image = analysis.image
        (inversion,) = self.inverted([image])
        seed = derived(analysis.run_seed)
        descriptors = describe(labels, inversion.features, image, self.encoder, self.matching, seed)
        found = replace(analysis.segmentation, labels=labels)
        return Analysis(analysis.source, analysis.run_seed, lambda: descriptors, lambda: image, lambda: found)

    def kept(self, source: Picture, mask: str | Path | None, run_seed: int) -> Analysis | None:
        """What the store has of a picture, read when it is asked for; of a file neither pixels nor entry are read
        now."""
        key = self.key(source, mask, run_seed)
        if not (store := self.store) or not store.analyses.has(key):
            return None

        def again() -> Input:
            given = self.read(source, mask, run_seed)
            self.require_unchanged(source, mask, run_seed, key)
            return given

        @cache
        def anew() -> Analysis:
            """Where the entry is gone or damaged by now; the picture itself does not stay in memory."""
            given = again()
            (inversion,) = self.inverted([given.image])
            found = self.analysed(given, inversion, Stopwatch(self.model.device))
            return replace(found, get_image=lambda: again().image)

        def descriptors() -> RegionDescriptors:
            return read(store.analyses, key) or anew().descriptors

        def segmentation() -> Segmentation:
            if found := store.analyses.get(key, REGIONS):
                latents = (found[name].to(self.model.device) for name in ("latent", "inverted"))
                return Segmentation(found["labels"], *latents)
            return anew().segmentation

        return Analysis(source, run_seed, descriptors, lambda: again().image, segmentation, key)

    def key(self, source: Picture, mask: str | Path | None, run_seed: int) -> str:
        """Name of a picture's entry in the store; empty without a store, or where `read` says that a file cannot be."""
        if not self.store:
            return ""
        try:
            of_mask = file_digest(Path(mask)) if mask else ""
            return self.store.analysis_key(picture_digest(source), of_mask, run_seed)
        except InputError:
            return ""

    def require_unchanged(self, source: Picture, mask: str | Path | None, run_seed: int, key: str) -> None:
        """Raises InputError where a picture or its mask is another one now."""
        if self.key(source, mask, run_seed) != key:
            raise InputError(f"{source} changed while it was used; run again")


def picture_digest(picture: Picture) -> str:
    """Digest of a file, or of the pixels of what is none. Raises InputError where it cannot be read."""
    return file_digest(Path(picture)) if isinstance(picture, str | Path) else digest(read_image(picture))
