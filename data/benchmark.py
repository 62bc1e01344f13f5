"""Benchmarks: ordered lists of items, from a manifest of this repository or from folders of the user."""

import csv
import hashlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from data.sources import SOURCES
from stylegallery.contract import Item
from stylegallery.errors import InputError, require
from stylegallery.files import notice, require_file
from stylegallery.picture_files import SUFFIXES, list_images

MANIFESTS = Path(__file__).parent / "manifests"
MASKS = Path(__file__).parent / "masks"
ID = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,200}")
DIGEST = re.compile(r"([0-9a-f]{64}) [ *](.+)")  # a line of sha256sum, which writes the asterisk on Windows
LONGEST = 100  # characters of a name in an id: file systems allow 255 bytes for the id of two names and a suffix


def load_items(data: Mapping[str, Any] | DictConfig, check: bool = True) -> list[Item]:
    """The items of a `conf/data/*.yaml`, in order; `check` compares every picture of a manifest with its digest.

    Raises:
        InputError: files are missing or damaged (the message has the command that repairs them), or a setting of
            the user's own items cannot be used.
    """
    resolved = OmegaConf.to_container(data, resolve=True) if isinstance(data, DictConfig) else data
    settings: dict[str, Any] = dict(resolved)  # type: ignore[arg-type]
    function = get_method(settings.pop("_target_"))
    try:
        arguments = inspect.signature(function).bind(**settings)
    except TypeError as error:
        raise InputError(f"data cannot be used ({error}); conf/data has what it may hold") from error
    found: Item | list[Item] = function(*arguments.args, **arguments.kwargs)
    items = [found] if isinstance(found, Item) else found
    if check and "files" in settings:
        check_files(items, settings["files"], settings.get("root"), settings["manifest"])
    if check and settings.get("masks"):
        check_masks(items)
    return items


PLACES = ("contents", "references", "masks", "content", "mask", "reference_masks")


def places(data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a `conf/data/*.yaml` that say where pictures are, as absolute paths: another process may read
    them from another working directory."""
    if "manifest" in data:
        return {"root": str(root_of(data["files"], data.get("root")).absolute())}
    found = {key: data[key] for key in PLACES if data.get(key)}
    if isinstance(found.get("references"), str):
        found["references"] = [found["references"]]
    return {key: absolute(value) for key, value in found.items()}


def absolute(value: Any) -> Any:
    """A path, or every path of a list, made absolute. Other values stay: `load_items` refuses them with a message."""
    if isinstance(value, list | tuple):
        return [absolute(inner) for inner in value]
    return str(Path(value).absolute()) if isinstance(value, str) else value


# --- benchmarks with a manifest ---


def manifest_items(manifest: str, files: str, root: str | None = None, masks: str | None = None) -> list[Item]:
    """The rows of data/manifests/<manifest>.csv; `files` names the collection of pictures, kept in `root`.

    masks: a folder in data/masks with a mask of every content.
    """
    for name, value, known in (
        ("manifest", manifest, {path.stem for path in MANIFESTS.glob("*.csv")}),
        ("files", files, {path.stem for path in MANIFESTS.glob("*.sha256")}),
        ("masks", masks, {None, *(path.name for path in MASKS.iterdir() if path.is_dir())}),
    ):
        if not (value is None or isinstance(value, str)) or value not in known:
            some = ", ".join(sorted(filter(None, known)))
            raise InputError(f"data.{name} is {value!r}, which this repository does not have; pass one of: {some}")
    require(root is None or isinstance(root, str), "data.root is the path of a folder", root)
    folder = root_of(files, root)
    items = [
        Item(row["id"], folder / row["content"], tuple(folder / name for name in row["references"].split()))
        for row in read_manifest(MANIFESTS / f"{manifest}.csv")
    ]
    return with_masks(items, MASKS / masks) if masks else items


def read_manifest(path: Path) -> list[dict[str, str]]:
    """Rows of a manifest: `id`, `content` and `references` (separated by spaces), paths below the folder of pictures.

    Raises:
        InputError: a column is missing, there is no row, or a row has an empty cell, an id that is no plain name or
            stands twice, or a path that leaves the folder.
    """
    columns = ("id", "content", "references")
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:  # spreadsheets begin a file with a byte order mark
            reader = csv.DictReader(table, strict=True)
            rows, header = list(reader), reader.fieldnames or ()
    except (csv.Error, UnicodeError) as error:
        raise InputError(f"{path} is not a table of comma-separated values in UTF-8 ({error})") from error
    if missing := [name for name in columns if name not in header]:
        raise InputError(f"{path} has no column {missing[0]}; its first line is {','.join(columns)}")
    if not rows:
        raise InputError(f"{path} has no items; every line after the first is one")
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        cells = [row[name] or "" for name in columns]
        problem = ""
        if None in row or not all(cell.strip() for cell in cells):
            problem = f"needs {len(header)} cells, none of them empty"
        elif not ID.fullmatch(row["id"]):
            problem = f"has the id {row['id']!r}; an id is at most 200 letters, digits and _.-, and begins with no dot"
        elif row["id"].casefold() in seen:  # disks that ignore case would give both one folder
            problem = f"has the id {row['id']} of an earlier line; every id stands once"
        elif outside := [name for name in " ".join(cells[1:]).split() if leaves(name)]:
            problem = f"names {outside[0]}, which is outside the folder of pictures"
        if problem:
            raise InputError(f"{path}, line {number}, {problem}")
        seen.add(row["id"].casefold())
    return rows


def leaves(name: str) -> bool:
    """Whether a relative path of a manifest leads out of its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in name


def root_of(files: str, root: str | None = None) -> Path:
    """Where a collection of pictures is: `root`, else what <NAME>_DATA says, else below ~/.cache/stylegallery."""
    default = f"~/.cache/stylegallery/benchmarks/{files}"
    return Path(root or os.environ.get(f"{files.upper()}_DATA") or default).expanduser()


def read_digests(files: str) -> dict[str, str]:
    """Path below the root -> sha256, of every picture of a collection. Raises InputError where they are not listed as
    `sha256sum` prints them."""
    path = MANIFESTS / f"{files}.sha256"
    wanted = f"write it in the folder of the pictures with: find * -type f -exec sha256sum {{}} + > {path}"
    if not path.is_file():
        raise InputError(f"{path} is missing, the digests of the pictures; {wanted}")
    lines = path.read_bytes().decode("utf-8-sig", "replace").splitlines()
    found = [DIGEST.fullmatch(line) for line in lines]
    if None in found:
        raise InputError(f"{path}, line {found.index(None) + 1}, is no digest, two spaces and a path; {wanted}")
    return {one[2]: one[1] for one in found if one}


def check_files(items: Sequence[Item], files: str, root: str | None = None, data: str | None = None) -> None:
    """Raises InputError where a picture of the items, those of conf/data/<data>.yaml, is missing or differs from the
    digest in the repository."""
    folder, digests = root_of(files, root), read_digests(files)
    names = sorted({path.relative_to(folder).as_posix() for item in items for path in (item.content, *item.references)})
    if unknown := [name for name in names if name not in digests]:
        raise InputError(
            f"{unknown[0]} has no digest in {MANIFESTS / f'{files}.sha256'}; add it, as sha256sum prints it"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    damaged = [name for name in names if name not in missing and not intact(folder / name, digests[name])]
    if missing or damaged:
        found = [describe_files(kind, some) for kind, some in (("missing", missing), ("damaged", damaged)) if some]
        where = (f" --root {root}" if root else "") + (" --force" if damaged else "")
        get = (
            f"get them with: python -m data.fetch {files}{where}"
            if files in SOURCES
            else f"put the pictures there that {MANIFESTS / f'{files}.sha256'} lists"
        )
        raise InputError(
            f"benchmark {files} in {folder}: {' and '.join(found)}; {get}, "
            f"or pass data={data or files} data.root=FOLDER where they are"
        )


def intact(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def describe_files(kind: str, names: Sequence[str]) -> str:
    """`3 files are missing (a.png, b.png, c.png)`, the first three by name."""
    more = ", ..." if len(names) > 3 else ""
    return f"{len(names)} {'files are' if len(names) > 1 else 'file is'} {kind} ({', '.join(names[:3])}{more})"


# --- masks ---


def with_masks(items: Sequence[Item], folder: Path) -> list[Item]:
    """The items, each with the mask that is named after its content: a .png, or the .json of labelme."""
    pictures = [folder / f"{item.content.stem}.png" for item in items]
    masks = [picture if picture.is_file() else picture.with_suffix(".json") for picture in pictures]
    return [replace(item, mask=mask) for item, mask in zip(items, masks, strict=True)]


def check_masks(items: Sequence[Item]) -> None:
    """Raises InputError where the mask of a content is missing."""
    missing = sorted({item.mask for item in items if item.mask and not item.mask.is_file()})
    if missing:
        found = describe_files("missing", [mask.name for mask in missing])
        raise InputError(
            f"masks {missing[0].parent}: {found}; every content needs one of its own name, .json or .png, or pass "
            "data.masks=null"
        )


# --- the user's own pictures ---


def folder_items(contents: str, references: str | Sequence[str], masks: str | None = None) -> list[Item]:
    """Every content picture with every set of references.

    contents: a folder or pattern. references: folders, each one set; a folder of folders means all of these. masks:
    a folder with a mask of every content.

    Raises:
        InputError: nothing there, or two items would have one id.
    """
    if not isinstance(contents, str) or not references:
        raise InputError("data=folder needs data.contents=FOLDER and data.references=FOLDER or [FOLDER, ...]")
    if not isinstance(masks, str | None):
        raise InputError(f"data.masks is {masks!r}; pass a folder")
    folders: list[Path] = []
    for source in listed("data.references", references):
        inside = sorted(path for path in Path(source).glob("*") if not path.name.startswith("."))
        inner = [path for path in inside if path.is_dir()]
        folders += inner or [Path(source)]
        if inner and (
            beside := [path.name for path in inside if path.suffix.lower() in SUFFIXES and path not in inner]
        ):
            notice(f"{source}: its folders are taken, the pictures beside them are left out ({', '.join(beside[:5])})")
    sets = [(folder, tuple(pictures_in(str(folder)))) for folder in folders]
    items: list[Item] = []
    sources: dict[str, str] = {}  # id -> content and references
    for path in pictures_in(contents):
        for folder, paths in sets:
            name = f"{safe_name(path.stem)}__{safe_name(folder.stem if folder.is_file() else folder.name)}"
            if name in sources:
                raise InputError(f"{sources[name]} and {path} with {folder} have one name; rename one of them")
            sources[name] = f"{path} with {folder}"
            items.append(Item(name, path, paths))
    return with_masks(items, Path(masks)) if masks else items


def pictures_in(source: str) -> list[Path]:
    """The pictures of `list_images`. Raises InputError where a single picture is missing: no item would say so."""
    paths = list_images(source)
    if paths == [Path(source)]:
        require_file(paths[0], "folder, a pattern or a picture")
    return paths


def safe_name(name: str) -> str:
    """A short name of plain characters for a folder. A name that had to change gets a digest: two names stay two."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:LONGEST]
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()  # file names need not be UTF-8
    return safe if safe == name else f"{safe}-{digest[:8]}"


def listed(name: str, value: Any, kind: Any = str) -> list[Any]:
    """One path or a list of paths as a list. Raises InputError for anything else."""
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, Sequence) or not all(isinstance(path, kind) for path in paths):
        raise InputError(f"{name} is {value!r}; pass a path or a list of paths")
    return list(paths)
