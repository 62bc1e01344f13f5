"""The state of a visitor as the page gets it: plain JSON, and the pictures once, under keys."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from stylegallery.contract import Energy, Match
from stylegallery.decoding import read_pixels
from stylegallery.errors import InputError
from stylegallery.images import to_pixels
from stylegallery.studio.choices import Choices, named
from stylegallery.studio.drawing import as_jpeg, in_words, outlined, palette
from stylegallery.studio.easel import Moment, Result
from stylegallery.studio.limits import MOST_BYTES, MOST_TOGETHER
from stylegallery.studio.samples import samples
from stylegallery.studio.visit import Shown, Visit
from stylegallery.studio.visits import Guest
from stylegallery.studio.wishes import Wishes

THUMB, PREVIEW = 160, 2048  # pixels of the longer side of a bundled picture, and of a result
FILES = {"one": MOST_BYTES, "together": MOST_TOGETHER}  # bytes of a file, and of those that come at once


@cache
def bundled() -> tuple[dict[str, str], dict[str, list[dict[str, str]]]]:
    """The pictures of the samples by key, and their names by kind."""
    named_by_kind = {kind: samples(kind) for kind in ("content", "style")}
    pictures = {f"sample-{name}": path for known in named_by_kind.values() for name, path in known.items()}
    small = {key: as_jpeg(read_pixels(path), THUMB) for key, path in pictures.items()}
    return small, {kind: [{"name": n, "key": f"sample-{n}"} for n in known] for kind, known in named_by_kind.items()}


def pictures_of(guest: Guest) -> dict[str, str]:
    """The visitor's pictures by key."""
    return {picture.sha256: picture.address for picture in guest.visit.given()}


def wall(guest: Guest, text: str = "", kind: str = "info") -> dict[str, Any]:
    """Pictures, their regions, matches, and what the visitor may do now; `text` is what is said."""
    visit = guest.visit
    with visit.lock:
        unknown, matches = set(visit.unknown()), list[Match]()
        try:
            matches += visit.plan().matches if visit.ready and not unknown else []
        except InputError as error:  # a painting was taken away, and nothing that is left may be used
            text, kind = guest.explain(error), "error"
        pictures = [
            picture
            and {
                "key": picture.sha256,
                "name": picture.path.name,
                "excluded": number in visit.choices.excluded,
                "own": number in visit.choices.masks,
                **sized(visit, number, picture, number in unknown),
            }
            for number, picture in enumerate(visit.pictures)
        ]
        count = len((pictures[0] or {}).get("regions") or [])
        return {
            "said": {"kind": kind, "text": text},
            "pictures": pictures,
            "colours": palette(count),
            "matches": [
                {
                    "region": match.content_region,
                    "reference": match.reference,
                    "target": match.reference_region,
                    "pinned": match.pinned,
                    "score": round(match.score, 3),
                    "why": in_words(match),
                }
                for match in matches
            ],
            "forbidden": [] if unknown else [named(pair, visit.at) for pair in visit.choices.forbidden],
            "undo": bool(visit.past),
            "decided": visit.choices != Choices(),
            "samples": bundled()[1],
            "files": FILES,
        }


def sized(visit: Visit, number: int, picture: Shown, unknown: bool) -> dict[str, Any]:
    """Width and height of a picture on the wall, and its regions once they are known."""
    if unknown:
        height, width = picture.size
        return {"width": width, "height": height, "regions": None}
    key = visit.key(number, visit.look.resolution, visit.choices.masks.get(number))
    if key not in visit.outlines:
        visit.outlines[key] = outlined(picture.small, visit.labels(number))
    found = visit.outlines[key]
    return {"width": found.width, "height": found.height, "regions": found.regions}


def easel(guest: Guest, text: str = "", kind: str = "info", restored: Wishes | None = None) -> dict[str, Any]:
    """The painting on its way, and the visitor's results, the newest first."""
    usual, own, moment = guest.visit.workshop.defaults, guest.easel, guest.moment
    return {
        "said": {"kind": kind, "text": text},
        "moment": moment and shown(moment),
        "going": own.going is not None,
        "quick": guest.visit.workshop.quick_resolution,
        "files": FILES,
        "limits": Wishes.limits(),
        "usual": usual.given(),
        "updates": {str(steps): updates for steps, updates in guest.visit.workshop.updates.items()},
        "restored": restored.given() if restored else None,
        "results": [summary(result) for result in reversed(own.results)],
    }


def shown(moment: Moment) -> dict[str, Any]:
    """A moment of a painting."""
    return {
        "doing": moment.doing,
        "done": moment.done,
        "of": moment.of,
        "left": moment.seconds_left,
        "energies": plotted(moment.energies),
        "picture": as_jpeg(to_pixels(moment.picture)) if moment.picture is not None else None,
    }


def plotted(energies: Sequence[Energy]) -> list[list[float]]:
    """The energy of every update, and the two losses that it weighs."""
    return [[round(part, 5) for part in energy[2:]] for energy in energies]


def summary(result: Result) -> dict[str, Any]:
    """A result in the history."""
    height, width = result.size
    return {
        "number": result.number,
        "key": f"result-{result.number}",
        "before": f"before-{result.number}",
        "width": width,
        "height": height,
        "reduced": max(result.size) > PREVIEW,
        "updates": result.updates,
        "of": result.of,
        "seconds": result.seconds,
        "energies": plotted(result.energies),
        "wishes": result.started.wishes.given(),
        "pins": len(result.started.choices.pins),
        "command": result.command,
        "yaml": result.yaml,
    }


def result_pictures(result: Result) -> dict[str, str]:
    """The pictures of a result by key."""
    made = result.stylization
    return {
        f"result-{result.number}": as_jpeg(to_pixels(made.image), PREVIEW),
        f"before-{result.number}": as_jpeg(to_pixels(made.content), PREVIEW),
    }
