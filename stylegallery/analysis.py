"""Stages 1 and 2 as far as they look at one picture: what is known of it, found once and kept in a store."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stylegallery.contract import Advance, ignored
from stylegallery.draws import derived
from stylegallery.errors import InputError
from stylegallery.images import Picture, read_image, resize
from stylegallery.inversion import Inversion, invert
from stylegallery.matching import MatchingConfig, RegionDescriptors, describe
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.regions import mask_on_grid, read_published_mask
from stylegallery.segmentation import Segmentation, SegmentationConfig, find_regions
from stylegallery.stopwatch import Stopwatch
from stylegallery.store import AnalysisStore

# The tensors of an entry, see `store.have_forms`.
INVERSION = {"latent": "float 1 C h w", "inverted": "float 1 C h w", "features": "float D h w"}
REGIONS = {"labels": "int64 h w", "latent": "float 1 C h w", "inverted": "float 1 C h w"}
DESCRIPTORS = {"statistics": "float R S", "semantics": "float R D", "circles": "float64 R 3"}


class Input(NamedTuple):
    """A picture that was read: as it was given, with the file of its user's mask, as the model sees it (1, 3, H, W),
    the mask as a label map (h, w), and what is drawn for it comes from: the seed of the run, and one of its own."""

    source: Picture
    mask: str | Path | None
    image: Tensor
    labels: Tensor | None
    run_seed: int
    seed: int


@dataclass(frozen=True)
class Analysis:
    """All that stages 1 and 2 know of a picture, whatever other pictures it is matched with.

    source is the picture as it was given, run_seed what its draws began with. What matching does not look at is asked
    for when it is needed, and need not be in memory before: where thousands are offered, few are matched.
    """

    source: Picture
    run_seed: int
    descriptors: RegionDescriptors
    get_image: Callable[[], Tensor]
    get_segmentation: Callable[[], Segmentation]

    @property
    def image(self) -> Tensor:
        """The picture (1, 3, H, W) as the model sees it."""
        return self.get_image()

    @property
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
        original = read_image(picture)
        image = resize(original, self.resolution, self.resizing, self.model.multiple)
        labels = None
        if mask and self.segmentation.masks == "published":
            labels = read_published_mask(Path(mask))
        elif mask:
            height, width = image.shape[-2:]
            sizes = [(original.shape[-2], original.shape[-1]), (height, width)]
            labels = mask_on_grid(Path(mask), sizes, (height // self.model.stride, width // self.model.stride))
        return Input(picture, mask, image, labels, seed, derived(seed, original))

    def __call__(
        self,
        pictures: Sequence[tuple[Picture, str | Path | None]],
        seed: int,
        advance: Advance = ignored,
        watch: Stopwatch | None = None,
    ) -> list[Analysis]:
        """The analyses of pictures, each with its user's mask if it has one, in a run of this seed.

        All are read before the first is analysed. `advance` is called for every inversion step, also for those of
        pictures that the store has.

        Raises:
            InputError: a picture or a mask cannot be used.
        """
        watch, found, waiting = watch or Stopwatch(self.model.device), dict[int, Analysis](), dict[int, Input]()
        for index, (picture, mask) in enumerate(pictures):
            given = self.read(picture, mask, seed)
            with watch("segmentation"):
                kept = self.kept(given)
            if kept:
                found[index] = kept
            else:
                waiting[index] = given
        self.skip(len(found), advance)
        for group in self.groups(waiting):
            inputs = [waiting.pop(index) for index in group]
            found |= zip(group, self.together(inputs, advance, watch), strict=True)
        return [found[index] for index in range(len(pictures))]

    def groups(self, inputs: dict[int, Input]) -> list[list[int]]:
        """The places of pictures that are inverted together, as they are of one shape."""
        size = self.segmentation.inversion_batch
        shapes = {given.image.shape: None for given in inputs.values()}
        alike = [[index for index, given in inputs.items() if given.image.shape == shape] for shape in shapes]
        return [places[first : first + size] for places in alike for first in range(0, len(places), size)]

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
                    if all(kept := [self.kept(given) for given in inputs]):  # by another process meanwhile
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
        if self.store:
            tensors = {"labels": found.labels, "latent": found.latent, "inverted": found.inverted}
            described = {name: torch.as_tensor(values) for name, values in vars(descriptors).items()}
            self.store.analyses.put(self.key(self.store, given), tensors | described)
        return Analysis(given.source, given.run_seed, descriptors, lambda: given.image, lambda: found)

    def kept(self, given: Input) -> Analysis | None:
        """What the store has of a picture; its descriptors are read now, its pixels and regions when they are asked
        for."""
        if not (store := self.store):
            return None
        key, source, mask, run_seed = self.key(store, given), given.source, given.mask, given.run_seed
        if not (described := store.analyses.get(key, DESCRIPTORS)):
            return None

        def again() -> Input:
            """Nothing of `given` stays in memory."""
            found = self.read(source, mask, run_seed)
            if self.key(store, found) != key:
                raise InputError(f"{source} changed while it was used; run again")
            return found

        def segmentation() -> Segmentation:
            if kept := store.analyses.get(key, REGIONS):
                return Segmentation(
                    kept["labels"], *(kept[name].to(self.model.device) for name in ("latent", "inverted"))
                )
            found = again()
            (inversion,) = self.inverted([found.image])
            return self.analysed(found, inversion, Stopwatch(self.model.device)).segmentation

        descriptors = RegionDescriptors(described["statistics"], described["semantics"], described["circles"].numpy())
        return Analysis(source, run_seed, descriptors, lambda: again().image, segmentation)

    @staticmethod
    def key(store: AnalysisStore, given: Input) -> str:
        return store.analysis_key(given.image, given.labels, given.run_seed, given.seed)
