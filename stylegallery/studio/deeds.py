"""What the page asks for, checked and done: everything in it was written by a stranger."""

import base64
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stylegallery.errors import InputError
from stylegallery.studio.brush import Stroke
from stylegallery.studio.bundle import bundle, overview_png
from stylegallery.studio.drawing import as_address
from stylegallery.studio.limits import MOST_BYTES, MOST_REFERENCES
from stylegallery.studio.opening import File, open_result
from stylegallery.studio.samples import sample
from stylegallery.studio.visits import Guest
from stylegallery.studio.wishes import Wishes

PNG = "image/png"
Number = Annotated[int, Field(ge=0, le=10_000)]
Strokes = Annotated[list[Stroke], Field(min_length=1, max_length=500)]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sent(Asked):
    """A file of the visitor."""

    name: Annotated[str, Field(max_length=1000)]
    data: Annotated[str, Field(max_length=MOST_BYTES * 4 // 3 + 8)]

    def file(self) -> File:
        try:
            return self.name, base64.b64decode(self.data, validate=True)
        except ValueError as error:  # other letters than those of base64, or too few
            raise InputError(f"{self.name[:80]} did not arrive whole; choose it again") from error


class Pair(Asked):
    do: Literal["pin", "forbid"]
    region: Number
    reference: Number
    target: Number


class Unpin(Asked):
    do: Literal["unpin"]
    region: Number


class LeaveOut(Asked):
    do: Literal["leave_out"]
    reference: Number
    out: bool


class Join(Asked):
    do: Literal["join"]
    picture: Number
    first: Number
    second: Number


class Brushed(Asked):
    do: Literal["cut", "draw"]
    picture: Number
    strokes: Strokes


class Whole(Asked):
    do: Literal["blank", "as_found"]
    picture: Number


class LoadMask(Asked):
    do: Literal["load_mask"]
    picture: Number
    file: Sent


class Back(Asked):
    do: Literal["undo", "reset"]


ACT: TypeAdapter[Any] = TypeAdapter(
    Annotated[Pair | Unpin | LeaveOut | Join | Brushed | Whole | LoadMask | Back, Field(discriminator="do")]
)


DONE = {
    "pin": "Pinned: region {region} takes its style from region {target} of painting {reference}.",
    "forbid": "Forbidden: region {region} does not take its style from region {target} of painting {reference}.",
    "allow": "Allowed again: region {region} may take its style from region {target} of painting {reference}.",
    "unpin": "Region {region} finds its painting by itself again.",
    "leave_out": "Painting {reference} is left out.",
    "use": "Painting {reference} is used again.",
    "join": "Regions {first} and {second} are one now.",
    "cut": "What you brushed is a region of its own.",
    "draw": "What you brushed is a region of its own.",
    "blank": "One region all over: brush others on it.",
    "as_found": "The regions are as they were found.",
    "load_mask": "The mask is on the picture.",
    "undo": "Taken back.",
    "reset": "Everything is as it was found.",
}


class Bring(Asked):
    """Pictures, a bundled one, or a painting to take away."""

    kind: Literal["content", "style"] = "style"
    files: Annotated[list[Sent], Field(max_length=MOST_REFERENCES)] = []
    sample: Annotated[str, Field(max_length=100)] | None = None
    remove: Number | None = None


class Fetch(Asked):
    what: Literal["picture", "overview", "all", "mask_png", "mask_labelme"]
    result: Number = 0
    picture: Number = 0


class Open(Asked):
    files: Annotated[list[Sent], Field(max_length=2 * MOST_REFERENCES + 3)]


def checked(kind: Any, given: object) -> Any:
    """Raises InputError where the page did not ask that."""
    try:
        return (kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)).validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InputError(f"this was not understood ({first['msg']}); load the page again") from error


def require_none(unknown: Collection[int]) -> None:
    """Raises InputError where pictures are not known yet: the networks are for those events that take their turns."""
    if unknown:
        raise InputError("the pictures are still being looked at; wait a moment")


def act(guest: Guest, given: object) -> str:
    """Change what the visitor decided; what is said of it."""
    asked, visit = checked(ACT, given), guest.visit
    with visit.lock:
        require_none(visit.unknown())
        values, before = dict(asked), len(visit.choices.forbidden)
        do = values.pop("do")
        if do == "load_mask":
            visit.load_mask(asked.picture, *asked.file.file())
        else:
            change: Callable[..., None] = getattr(visit, do)
            change(*values.values())
        if do == "forbid" and len(visit.choices.forbidden) < before:
            do = "allow"
        if do == "leave_out" and not asked.out:
            do = "use"
    return DONE[do].format(**values)


def bring(guest: Guest, given: object) -> None:
    """Take pictures, or a painting away. Of several pictures those that can be used are taken.

    Raises:
        InputError: some cannot be used, or there is no such painting.
    """
    asked: Bring = checked(Bring, given)
    visit = guest.visit
    files = [file.file() for file in asked.files]
    if asked.sample is not None:
        files.append(sample(asked.kind, asked.sample))
    take, refused = visit.take_photo if asked.kind == "content" else visit.take_reference, []
    with visit.lock:
        if asked.remove is not None:
            visit.remove(asked.remove)
        for name, data in files:
            try:
                take(name, data)
            except InputError as error:
                refused.append(str(error))
    if refused:
        raise InputError("; ".join(refused))


def fetch(guest: Guest, given: object) -> dict[str, str]:
    """A file to take home: its name, and its bytes as an address."""
    asked: Fetch = checked(Fetch, given)
    visit = guest.visit
    if asked.what.startswith("mask"):
        with visit.lock:
            require_none({asked.picture}.intersection(visit.unknown()))
            stem = visit.picture(asked.picture).path.stem
            if asked.what == "mask_png":
                return {"name": f"{stem}_regions.png", "address": as_address(visit.mask_png(asked.picture), PNG)}
            data = visit.mask_labelme(asked.picture)
            return {"name": f"{stem}_regions.json", "address": as_address(data, "application/json")}
    result = guest.easel.result(asked.result)
    if asked.what == "picture":
        return {"name": "stylised.png", "address": as_address(result.picture.read_bytes(), PNG)}
    if asked.what == "overview":
        return {"name": "overview.png", "address": as_address(overview_png(result), PNG)}
    return {"name": f"{result.folder}.zip", "address": as_address(bundle(result), "application/zip")}


def opened(guest: Guest, given: object) -> tuple[Wishes, str]:
    """The state of a result, and what is said of it."""
    asked: Open = checked(Open, given)
    wishes, others = open_result(guest.visit, [file.file() for file in asked.files])
    if not others:
        return wishes, "Opened: paint, and the same picture comes out."
    return wishes, f"Opened, but the picture will differ: this studio has other settings of {', '.join(others)}."
