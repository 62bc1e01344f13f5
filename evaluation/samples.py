"""Finished results as metrics see them: pictures read, resized and checked against the record."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.annotation_files import MOST_REFERENCES, annotation_digest, read_annotation
from evaluation.metric import ANNOTATORS, Annotation, Sample
from harness.folder import ResultFolder, RunFolder
from harness.pictures import Pictures
from harness.record import Record, load_record
from stylegallery.errors import InputError
from stylegallery.provenance import file_digest

if TYPE_CHECKING:
    from torch import Tensor


class LostInput(InputError):
    """The content or a reference of a result cannot be read or is another picture by now."""


@lru_cache(maxsize=64)  # neighbouring results share their content and references, and with them the features
def read_picture(path: Path, modified: int, size: tuple[int, int] | None, digest: str | None) -> "Tensor":
    """A picture at size (height, width), of that SHA-256 where one is given; `modified` is part of the cache's key."""
    import torch.nn.functional as F  # takes seconds, which --help need not wait for

    from stylegallery.images import read_image

    image = read_image(path)
    if digest is not None and file_digest(path) != digest:
        raise InputError(f"{path} changed since the result; restore it or run the item again")
    if size is None or image.shape[-2:] == size:
        return image
    resized = F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)
    return (resized * 255).round() / 255  # 8 bit, as results are: an identity scores as one exactly


def picture(path: Path, size: tuple[int, int] | None = None, digest: str | None = None) -> "Tensor":
    return read_picture(path, path.stat().st_mtime_ns if path.is_file() else 0, size, digest)


@dataclass(frozen=True)
class Result:
    """One item done by one method. `features` lives as long as this object, pictures only as long as they are used."""

    place: ResultFolder
    pictures: Pictures = field(compare=False, repr=False)
    features: dict[object, object] = field(default_factory=dict, compare=False, repr=False)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.pictures.out)

    def record(self) -> Record:
        """Raises InputError where it cannot be read."""
        return self.pictures.relocated(load_record(self.place.path))

    def depends_on(self) -> dict[str, str | None]:
        """What its scores are made of; nothing where the record cannot be read."""
        try:
            return self.record().depends_on(self.place.path)
        except InputError:
            return {}

    def sample(self, size: int | None) -> Sample:
        """All pictures at the size of the result, or `size` x `size`: the whole content, squeezed where it has another
        aspect.

        Raises:
            LostInput: the content or a reference cannot be read or changed since the result.
            InputError: the method failed on the item, its picture or the record cannot be read, or it has too many
                references to compare it with.
        """
        record = self.record()
        if record.error is not None:
            raise InputError(record.error)
        image = picture(self.place.picture, (size, size) if size else None)
        shape = image.shape[-2], image.shape[-1]
        if (count := len(record.pictures) - 1) > MOST_REFERENCES:
            raise InputError(f"it has {count} references, and scores are of {MOST_REFERENCES} at most")
        try:
            content, *references = [picture(Path(one.path), shape, one.sha256) for one in record.pictures.values()]
        except InputError as problem:
            raise LostInput(str(problem)) from problem
        return Sample(self.place.item, content, references, image, features=self.features)

    def annotation_digests(self) -> dict[str, str | None]:
        """Annotator -> digest of its annotation of the item; None where there is none."""
        return {who: annotation_digest(self.run.annotation(who, self.place.item)) for who in ANNOTATORS}

    def annotation(self, annotator: str) -> Annotation | None:
        try:
            return read_annotation(self.run.annotation(annotator, self.place.item))
        except InputError:
            return None


class ReadWhenIndexed(Sequence[Sample]):
    """The samples of a set, whose pictures would not fit into memory together."""

    def __init__(self, results: Sequence[Result], size: int | None) -> None:
        self.results, self.size = results, size

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [result.sample(self.size) for result in self.results[index]]
        return self.results[index].sample(self.size)
