"""One picture per item: content, references, and what every method made of them, with a page that shows all."""

import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evaluation.calibration import CALIBRATION
from evaluation.publish.studies import Study, model_lines
from evaluation.publish.text import page
from evaluation.report_pictures import shrunk
from stylegallery.errors import InputError

COLUMNS, GAP, STRIP = 8, 4, 15  # tiles in a row, pixels between them, pixels of the label under each
QUALITY = 85
PAPER, INK, EMPTY = (255, 255, 255), (30, 30, 30), (225, 225, 225)


def choose_items(study: Study, count: int) -> list[str]:
    """Up to `count` items, of those that most methods have, evenly spaced in the order of the benchmark: contents and
    numbers of references take turns there."""
    have = Counter(item for label in study.ran for item in study.sweep.records.by_label[label])
    items = [item for item in study.items() if item in have]
    least = sorted((have[item] for item in items), reverse=True)[:count][-1:]
    items = [item for item in items if have[item] >= least[0]]
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def draw_grid(study: Study, item: str, side: int) -> bytes:
    """JPEG of an item; what is missing is a grey tile with a dash. Calibration rows are the inputs themselves."""
    records = study.sweep.records
    tiles: list[tuple[str, Image.Image | None]] = []
    for number, one in enumerate(records.pictures(item)):
        tiles.append((f"reference {number}" if number else "content", picture(Path(one.path), side, one.sha256)))
    tiles += [("", None)] * (-len(tiles) % COLUMNS)  # methods start a row
    for label in (label for label in study.ran if label not in CALIBRATION):
        made = records.run.result(label, item).picture if records.result(label, item) else None
        tiles.append((label, picture(made, side) if made else None))
    return sheet(tiles, side)


def picture(path: Path, side: int, digest: str | None = None) -> Image.Image | None:
    try:
        return shrunk(path, side, digest)
    except InputError:
        return None


def sheet(tiles: Sequence[tuple[str, Image.Image | None]], side: int) -> bytes:
    """Labelled tiles row by row; a tile without label and picture stays paper."""
    rows = math.ceil(len(tiles) / COLUMNS)
    step, drop = side + GAP, side + STRIP + GAP
    canvas = Image.new("RGB", (COLUMNS * step + GAP, rows * drop + GAP), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for index, (label, image) in enumerate(tiles):
        x, y = GAP + index % COLUMNS * step, GAP + index // COLUMNS * drop
        if image is not None:
            canvas.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))
        elif label:
            draw.rectangle((x, y, x + side - 1, y + side - 1), fill=EMPTY)
            draw.text((x + side // 2, y + side // 2), "–", INK, font, anchor="mm")
        while label and draw.textlength(label, font) > side:
            label = label[:-2] + "…"
        draw.text((x + side // 2, y + side + STRIP // 2), label, INK, font, anchor="mm")
    data = io.BytesIO()
    canvas.save(data, "JPEG", quality=QUALITY, optimize=True)
    return data.getvalue()


def grids_page(study: Study, items: Sequence[str]) -> str:
    absent = [f"{label} ({why})" for label, why in study.absent.items() if label not in CALIBRATION]
    return page(
        "Pictures",
        "\n\n".join(model_lines(study.sweep, study.ran)),
        f"{len(items)} of {len(study.items())} items of {study.manifest}, evenly spaced. First row: content and "
        "references; then every method. A grey tile is an item that a method failed on or has not done.",
        f"Not shown, since never run: {'; '.join(absent)}." if absent else "",
        *[f"## {item}\n\n![{item}](grids/{item}.jpg)" for item in items],
    )
