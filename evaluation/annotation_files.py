"""An annotation on disk: content.png and reference_1.png ... (indexed label maps, index = label), matches.json, and
annotation.json, which is written last and says what the annotation was made from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from evaluation.metric import Annotation
from harness.folder import ANNOTATION, ANNOTATION_FILES, AnnotationFolder, prepare_folder
from harness.record import Request
from harness.schemas import CHECKED, STRICT, Integer, Number, Text, read
from stylegallery.contract import Match
from stylegallery.decoding import open_image
from stylegallery.errors import InputError
from stylegallery.files import clear_partial, replacing_together, writable
from stylegallery.region_pictures import write_indexed_png

SCHEMA = 1  # raised whenever earlier annotations can no longer be read
AGAIN = "annotate again"
MOST_REFERENCES = 999  # of an item that is annotated and scored: each is a file, and scores look at all of them


@dataclass(frozen=True)
class Source:
    """annotation.json: what an annotation was made from. Its other keys are those of `harness.record.Request`."""

    __pydantic_config__ = CHECKED
    schema: Integer
    digest: Text
    references: Annotated[Integer, Field(ge=1, le=MOST_REFERENCES)]
    config: dict[str, Any]


class MatchRow(TypedDict):
    """A row of matches.json."""

    __pydantic_config__ = STRICT | ConfigDict(extra="forbid")  # type: ignore[misc]
    content_region: Number
    reference: Number
    reference_region: Number
    score: float
    statistics: float
    semantics: float
    geometry: float
    pinned: bool


SOURCE_FILE, MATCHES_FILE = TypeAdapter(Source), TypeAdapter(list[MatchRow])


def write_annotation(folder: Path, annotation: Annotation, request: Request) -> None:
    """Write an annotation so that a reader sees all of it or none; `request` (inputs, config, code) addresses it.

    Raises:
        InputError: the folder cannot be written.
    """
    prepare_folder(folder, folder.parent)
    with writable(folder):
        clear_partial(folder, ANNOTATION_FILES, ANNOTATION)
        with replacing_together(folder, ANNOTATION_FILES, ANNOTATION) as partial:
            place = AnnotationFolder(partial)
            maps = {place.content: annotation.content_labels}
            maps |= {place.reference(number): labels for number, labels in enumerate(annotation.reference_labels, 1)}
            for path, labels in maps.items():
                write_indexed_png(path, labels, (labels.shape[0], labels.shape[1]))
            matches = [asdict(match) for match in annotation.matches]
            place.matches.write_text(json.dumps(matches, indent=1) + "\n", encoding="utf-8")
            source = Source(SCHEMA, request.digest(), len(annotation.reference_labels), request.config)
            text = json.dumps(asdict(source) | asdict(request), indent=1) + "\n"
            place.source.write_text(text, encoding="utf-8")


def read_source(folder: Path) -> Source:
    """Raises InputError where there is none, or another version of this code wrote it."""
    source = read(AnnotationFolder(folder).source, SOURCE_FILE, AGAIN)
    if source.schema != SCHEMA:
        raise InputError(f"{folder} is outdated: another version of this code wrote it; {AGAIN}")
    return source


def annotation_digest(folder: Path) -> str | None:
    """Digest of what the annotation in a folder was made from; None where there is no whole annotation."""
    try:
        read_maps(folder)
        return read_source(folder).digest
    except InputError:
        return None


def read_annotation(folder: Path) -> Annotation:
    """The annotation of a folder. Raises InputError as `read_maps`."""
    import torch  # takes seconds, which those who read no annotation need not wait for

    content, references, matches = read_maps(folder)
    return Annotation(torch.from_numpy(content), [torch.from_numpy(labels) for labels in references], matches)


def read_maps(folder: Path) -> tuple[np.ndarray, list[np.ndarray], list[Match]]:
    """The annotation of a folder: label maps of content and references, (h, w) int64, and the matches.

    Raises:
        InputError: there is none, or its files are damaged or do not fit together.
    """
    source, place = read_source(folder), AnnotationFolder(folder)
    content = read_labels(place.content)
    references = [read_labels(place.reference(number)) for number in range(1, source.references + 1)]
    rows: list[Any] = read(place.matches, MATCHES_FILE, AGAIN)
    matches = [Match(**row) for row in rows]
    counts = [int(labels.max()) for labels in references]
    matched = sorted(match.content_region for match in matches)
    if matched != list(range(1, int(content.max()) + 1)) or any(
        match.reference > len(counts) or match.reference_region > counts[match.reference - 1] for match in matches
    ):
        raise InputError(f"{folder}: regions and matches do not fit together; delete it and {AGAIN}")
    return content, references, matches


def read_labels(path: Path) -> np.ndarray:
    """Label map (h, w), int64, with the labels 1..R or 0 too, of an indexed PNG.

    Raises:
        InputError: it is missing, damaged or no such map.
    """
    image = open_image(path)
    labels = np.asarray(image).astype(np.int64)
    if image.mode != "P" or not np.array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max() + 1)):
        raise InputError(f"{path} is no label map of regions 1, 2, ...; delete its folder and {AGAIN}")
    return labels
