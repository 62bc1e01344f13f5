"""The state of a visitor as the page gets it: plain JSON, and the pictures once, under keys."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from stylegallery.contract import Energy, Match
from stylegallery.images import read_image, resize
from stylegallery.studio.choices import Choices, named
from stylegallery.studio.drawing import as_jpeg, in_words, outlined, palette
from stylegallery.studio.easel import Moment, Result
from stylegallery.studio.limits import MOST_BYTES
from stylegallery.studio.samples import samples
from stylegallery.studio.visit import Shown, Visit
from stylegallery.studio.visits import Guest
from stylegallery.studio.wishes import Wishes

THUMB = 160  # pixels


@cache
def bundled() -> tuple[dict[str, str], dict[str, list[dict[str, str]]]]:
    """The pictures of the samples by key, and their names by kind."""
    named_by_kind = {kind: samples(kind) for kind in ("content", "style")}
    pictures = {f"sample-{name}": path for known in named_by_kind.values() for name, path in known.items()}
    shown = {key: as_jpeg(read_image(path), THUMB) for key, path in pictures.items()}
    return shown, {kind: [{"name": n, "key": f"sample-{n}"} for n in known] for kind, known in named_by_kind.items()}


def pictures_of(guest: Guest) -> dict[str, str]:
    """The visitor's pictures by key."""
    return {picture.sha256: on_page(guest.visit, picture) for picture in guest.visit.pictures if picture}


def on_page(visit: Visit, picture: Shown) -> str:
    """The address of a picture for the page, made once."""
    if picture.sha256 not in visit.shown_as:
        visit.shown_as[picture.sha256] = as_jpeg(read_image(picture.path), 768)
    return visit.shown_as[picture.sha256]


def wall(guest: Guest, text: str = "", kind: str = "info") -> dict[str, Any]:
    """Pictures, their regions, matches, and what the visitor may do now; `text` is what is said."""
    visit = guest.visit
    with visit.lock:
        unknown = set(visit.unknown())
        matches: list[Match] = visit.plan().matches if visit.ready and not unknown else []
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
            "limit": MOST_BYTES,
        }


def sized(visit: Visit, number: int, picture: Shown, unknown: bool) -> dict[str, Any]:
    """Width and height of a picture on the wall, and its regions once they are known."""
    if unknown:
        height, width = picture.size
        return {"width": width, "height": height, "regions": None}
    key = visit.key(number, visit.look.resolution, visit.choices.masks.get(number))
    if key not in visit.outlines:
        analysis = visit.analysis(number)
        larger = resize(read_image(picture.path), 512, "keep", 8)
        visit.outlines[key] = outlined(larger, analysis.labels)
    found = visit.outlines[key]
    return {"width": found.width, "height": found.height, "regions": found.regions}


def easel(guest: Guest, moment: Moment | None = None, text: str = "", kind: str = "info",
          restored: Wishes | None = None) -> dict[str, Any]:  # fmt: skip
    """A painting on its way, and the visitor's results, the newest first."""
    usual, own = guest.visit.workshop.defaults, guest.easel
    shown = {
        "said": {"kind": kind, "text": text},
        "painting": moment is not None and moment.result is None,
        "moment": None,
        "going": own.going is not None,
        "quick": guest.visit.workshop.quick_resolution,
        "limit": MOST_BYTES,
        "usual": usual.given(),
        "restored": restored.given() if restored else None,
        "results": [summary(result) for result in reversed(own.results)],
    }
    if moment:
        picture = as_jpeg(moment.picture) if moment.picture is not None else None
        shown["moment"] = {
            "doing": moment.doing,
            "done": moment.done,
            "of": moment.of,
            "left": moment.seconds_left,
            "energies": plotted(moment.energies),
            "picture": picture,
        }
    return shown


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
        f"result-{result.number}": as_jpeg(made.image, 2048),
        f"before-{result.number}": as_jpeg(made.content, 2048),
    }
