"""A gallery for the eye: results beside their contents, the references that gave style, and the regions of both."""

import hashlib
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from evaluation.annotation_files import AGAIN, MATCHES_FILE, read_labels
from evaluation.publish.commands import commands
from evaluation.publish.headlines import headlines
from evaluation.publish.studies import Study, model_lines
from evaluation.publish.text import bullets, page, shell
from evaluation.registry import metric_info
from evaluation.report import families
from evaluation.report_pictures import COLOURS, UNTAKEN, shrunk
from evaluation.table_page import ARROWS, number
from harness.folder import ResultFolder
from harness.record import Input, Record
from harness.schemas import read
from stylegallery.contract import Match
from stylegallery.errors import InputError
from stylegallery.region_pictures import deepest_point, overlaid

SEED = 0
SIDE, BOX, GAP, APART = 448, 674, 4, 12  # pixels: a result, the tiles beside it, between tiles, between the two
MOST, QUALITY = 5, 82  # references of a card
INK, PAPER, EMPTY = (30, 30, 30), (255, 255, 255), (128, 128, 128)  # EMPTY: of a picture that is missing


@dataclass(frozen=True, eq=False)
class Shown:
    """A result of the method under test that the gallery has a card of."""

    study: Study
    item: str
    record: Record

    @property
    def folder(self) -> ResultFolder:
        return self.study.sweep.records.run.result(self.study.experiment.against, self.item)

    @property
    def file(self) -> str:
        """The card's path beside the page. Benchmarks share items, such as stylegallery and stylegallery60."""
        return f"gallery/{self.study.manifest}__{self.item}.webp"

    @property
    def references(self) -> list[Input]:
        return list(self.record.pictures.values())[1:]


def choose(studies: Sequence[Study], count: int) -> list[Shown]:
    """Up to `count` results of the method under test, of all benchmarks in turn; scores do not matter.

    Of a benchmark comes next an item whose content, then whose first family, was taken least; the SHA-256 of seed and
    id decides among equals.
    """
    by_benchmark = {study.manifest: study for study in reversed(studies) if study.experiment.against in study.ran}
    left = [
        [Shown(study, *one) for one in study.sweep.records.done(study.experiment.against).items()]
        for _, study in sorted(by_benchmark.items())
    ]
    taken: Counter[str] = Counter()
    chosen: list[Shown] = []

    def rank(one: Shown) -> tuple[int, int, str]:
        content, family = kin(one)
        return taken[content], taken[family], hashlib.sha256(f"{SEED} {one.item}".encode()).hexdigest()

    while len(chosen) < count and any(left):
        for waiting in left:
            if waiting and len(chosen) < count:
                chosen.append(min(waiting, key=rank))
                waiting.remove(chosen[-1])
                taken.update(kin(chosen[-1]))
    return sorted(chosen, key=lambda one: (one.study.manifest, one.item))


def kin(one: Shown) -> tuple[str, str]:
    """What an item shares with others: its content, and the family of its first reference."""
    return one.record.inputs["content"].sha256, Path(one.references[0].path).parent.name if one.references else ""


# --- cards ---


@dataclass(frozen=True)
class Pair:
    """A picture and its regions, if it has any; palette: (255, 3) in [0, 1]; names: region -> what is written there."""

    picture: Path
    digest: str
    labels: np.ndarray | None
    palette: np.ndarray
    names: dict[int, str]

    def tiles(self, side: int) -> list[Image.Image | None]:
        plain = fitted(self.picture, side, self.digest)
        if plain is None or self.labels is None:
            return [plain]
        rows, columns = (
            np.arange(new) * old // new for new, old in zip(plain.size[::-1], self.labels.shape, strict=True)
        )
        labels = self.labels[np.ix_(rows, columns)]
        image = Image.fromarray(overlaid(np.asarray(plain), labels, self.palette))
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(12, side // 11))
        for region in set(self.names) & set(np.unique(labels).tolist()):
            place = deepest_point(labels, region, labels.shape)
            draw.text(place, self.names[region], INK, font, anchor="mm", stroke_width=2, stroke_fill=PAPER)
        return [plain, image]


def card(one: Shown) -> bytes:
    """WebP with transparent gaps: the result, and to its right content and references, each with its regions."""
    pairs = pairs_of(one)
    side, across, upright = layout(len(pairs))
    canvas = Image.new("RGBA", (SIDE + APART + BOX, SIDE))
    paste(canvas, fitted(one.folder.picture, SIDE), (0, 0), SIDE)
    step = side + GAP
    for place, pair in enumerate(pairs):
        row, column = divmod(place, across)
        x, y = (column, 2 * row) if upright else (2 * column, row)
        for tile in pair.tiles(side):
            paste(canvas, tile, (SIDE + APART + x * step, y * step), side)
            x, y = (x, y + 1) if upright else (x + 1, y)
    data = io.BytesIO()
    canvas.save(data, "WEBP", quality=QUALITY)
    return data.getvalue()


def pairs_of(one: Shown) -> list[Pair]:
    """The content, and the references that give style, of more than MOST those to the largest part of the picture; the
    first ones where a method matches nothing."""
    content, matches = map_of(one, "content"), matches_of(one)
    sizes = Counter([] if content is None else content.ravel().tolist())
    share: Counter[int] = Counter()
    for match in matches:
        share[match.reference] += sizes[match.content_region]
    places = sorted(place for place, _ in share.most_common(MOST)) or range(1, 1 + len(one.references))[:MOST]
    photo = one.record.inputs["content"]
    pairs = [
        Pair(Path(photo.path), photo.sha256, content, COLOURS / 255, {label: str(label) for label in range(1, 256)})
    ]
    for place in places:
        takers: dict[int, list[int]] = {}
        for match in (match for match in matches if match.reference == place):
            takers.setdefault(match.reference_region, []).append(match.content_region)
        palette = np.tile(np.array(UNTAKEN) / 255, (255, 1))
        for region, content_regions in takers.items():
            palette[region - 1] = COLOURS[content_regions[0] - 1] / 255
        names = {region: ", ".join(map(str, content_regions)) for region, content_regions in takers.items()}
        file = one.references[place - 1]
        pairs.append(Pair(Path(file.path), file.sha256, map_of(one, f"reference_{place}"), palette, names))
    return pairs


def map_of(one: Shown, picture: str) -> np.ndarray | None:
    """The regions that the result was made with; None where it has none."""
    try:
        return read_labels(one.folder.regions(picture))
    except InputError:
        return None


def matches_of(one: Shown) -> list[Match]:
    """The matches that the result was made with, of regions and references that are there."""
    try:
        rows: list[Any] = read(one.folder.matches, MATCHES_FILE, AGAIN)
    except InputError:
        return []
    found = [Match(**row) for row in rows]
    most = len(COLOURS)
    return [
        match
        for match in found
        if match.reference <= len(one.references) and max(match.content_region, match.reference_region) <= most
    ]


def layout(pairs: int) -> tuple[int, int, bool]:
    """Side of a tile, pairs in a row, and whether the two of a pair stand upright or beside each other: what makes the
    tiles of BOX x SIDE pixels largest."""
    found = []
    for upright in (True, False):
        for across in range(1, pairs + 1):
            columns, rows = across, math.ceil(pairs / across)
            columns, rows = (columns, 2 * rows) if upright else (2 * columns, rows)
            side = min((BOX + GAP) // columns, (SIDE + GAP) // rows) - GAP
            found.append((side, upright, -across))
    side, upright, across = max(found)
    return side, -across, upright


def fitted(path: Path, side: int, digest: str | None = None) -> Image.Image | None:
    """A picture whose longer side is `side`, enlarged where it is smaller; None where it is missing or another one."""
    try:
        image = shrunk(path, side, digest)
    except InputError:
        return None
    width, height = (max(1, round(length * side / max(image.size))) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def paste(canvas: Image.Image, tile: Image.Image | None, corner: tuple[int, int], side: int) -> None:
    tile = tile or Image.new("RGB", (side, side), EMPTY)
    canvas.paste(tile, (corner[0] + (side - tile.width) // 2, corner[1] + (side - tile.height) // 2))


# --- the page ---


def gallery_page(chosen: Sequence[Shown]) -> str:
    studies = {one.study.manifest: one.study for one in chosen}
    label = chosen[0].study.experiment.against
    about = [
        "A card is the result, left, and what it was made of: the content with its regions, then every reference that "
        f"gives style to a region, with the regions of that reference (the {MOST} that give to most of the picture). "
        "A region of a reference has colour and number of the content region that takes its style; what gives none is "
        "grey.",
        f"Chosen by a rule that knows no score: benchmarks take turns; of each comes next an item whose photo, then "
        f"whose style family, was shown least; among equals the SHA-256 of seed {SEED} and the item's name decides.",
        *[beside_all(study, [one for one in chosen if one.study is study]) for study in studies.values()],
    ]
    lines = dict.fromkeys(line for study in studies.values() for line in model_lines(study.sweep, [label]))
    blocks = []
    for manifest, study in studies.items():
        scores, own = item_scores(study), [one for one in chosen if one.study is study]
        blocks += [
            f"## {manifest}",
            shell(commands(study)),
            *[f"{caption(one, scores)}\n\n![{one.item}]({one.file})" for one in own],
        ]
    return page(f"Gallery: {len(chosen)} results of {label}", "\n\n".join(lines), bullets(about), *blocks)


def item_scores(study: Study) -> dict[str, pd.Series]:
    """What is asked -> item -> the score of the method under test."""
    items = study.results.items[study.results.items["label"] == study.experiment.against]
    return {
        f"{asked} {ARROWS[metric_info(metric).direction]}": items[items["metric"] == metric].set_index("item")["value"]
        for asked, metric in headlines(items).items()
    }


def beside_all(study: Study, chosen: Sequence[Shown]) -> str:
    """Whether the chosen items are like the others."""
    names = [one.item for one in chosen]
    means = [
        f"{asked} {number(values.reindex(names).mean())} of these and {number(values.mean())} of all"
        for asked, values in item_scores(study).items()
        if values.reindex(names).notna().any()
    ]
    count = len(study.sweep.records.done(study.experiment.against))
    return f"{study.manifest}: {len(chosen)} of {count} results" + (f", mean {'; '.join(means)}." if means else ".")


def caption(one: Shown, scores: dict[str, pd.Series]) -> str:
    pictures, giving = list(one.record.pictures.values()), len({match.reference for match in matches_of(one)})
    count, styles = len(pictures) - 1, ", ".join(families(pictures))
    named = styles if len(styles) < 80 else f"{len(families(pictures))} style families"
    named += f"; {giving} give{'s' if giving == 1 else ''} style" if 0 < giving < count else ""
    found = [
        f"{asked} {number(values[one.item])}" for asked, values in scores.items() if pd.notna(values.get(one.item))
    ]
    title = f"**{one.item}**, {count} reference{'s' if count != 1 else ''} ({named})"
    return f"{title}: {', '.join(found)}" if found else title
