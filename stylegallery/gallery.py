"""Galleries: folders of pictures that are analysed once, ahead of the runs that take them as references.

    python -m stylegallery.gallery build FOLDER [NAME=VALUE ...]    analyse what is new, forget what is gone
    python -m stylegallery.gallery info FOLDER [NAME=VALUE ...]     what is there, with these settings and with others
    python -m stylegallery.gallery remove FOLDER                    give its room back

NAME=VALUE are settings of run.py: model=sd15 encoder=dinov2 seed=1. A run with the same ones and references=FOLDER/
finds the analyses by itself on the same device with as many threads and the same versions of libraries: all of them
decide last bits, so that each has analyses of its own. A build that was killed is continued by the next; several may
run at once.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from stylegallery.command import explained_errors, listing, plain_console
from stylegallery.errors import InputError, MachineError, SettingsError, printable
from stylegallery.files import unreachable, writable
from stylegallery.gallery_table import OTHER, Row, Table, tables
from stylegallery.overrides import composed
from stylegallery.picture_files import list_images
from stylegallery.progress import Bars
from stylegallery.provenance import file_digest

if TYPE_CHECKING:  # with PyTorch they take seconds, which --help and mistakes in a call need not wait for
    from stylegallery.analysis import Analyser
    from stylegallery.store import AnalysisStore

OFTEN = 5.0  # seconds after which a build writes down what it has done


class Gallery(NamedTuple):
    """A folder of pictures with the settings of a method; `seed` is that of the runs that will use it."""

    folder: Path
    overrides: list[str]
    settings: list[str]
    seed: int
    store: "AnalysisStore"

    def __str__(self) -> str:
        return printable(str(self.folder))

    @property
    def place(self) -> Path:
        """Of the tables of all galleries."""
        return self.store.analyses.folder.parent / "galleries"

    def table(self) -> Table:
        return Table.of(self.place, self.folder, self.settings, self.store.recipe, self.store.of_analyses)

    def tables(self) -> list[Table]:
        """Those of this folder, with whatever settings."""
        return [table for table in tables(self.place) if table.folder == str(self.folder)]

    def bytes_of(self, names: Iterable[str]) -> int:
        """Of entries, without those that are not there."""
        paths = map(self.store.analyses.path, names)
        return sum(path.stat().st_size for path in paths if path.is_file())

    def forget(self, names: Iterable[str]) -> None:
        """Remove entries of the store that no gallery has any more. Raises MachineError where that cannot be done."""
        with writable(self.store.analyses.folder, OTHER):
            for name in set(names) - entries_of(tables(self.place)):
                self.store.analyses.path(name).unlink(missing_ok=True)


def gallery(folder: Path, given: Sequence[str], store: str | None) -> Gallery:
    """Raises InputError where settings cannot be used or there is to be no store."""
    from stylegallery.store import PARTS, SIZES, AnalysisStore

    seeds = [setting.removeprefix("seed=") for setting in given if setting.startswith("seed=")] or ["0"]
    if not seeds[-1].isdecimal() or int(seeds[-1]) >= 2**63:
        raise InputError(f"seed is {seeds[-1]}; pass a whole number from 0, below 2^63")
    try:
        resolved = folder.resolve()
    except (OSError, RuntimeError) as error:  # a link that leads to itself
        raise unreachable(str(folder), error) from error
    overrides = [setting for setting in given if not setting.startswith("seed=")]
    settings = [f"seed={int(seeds[-1])}", *sorted(one for one in overrides if not one.startswith("store."))]
    method, of_store = composed(overrides)
    if of_store is None:
        raise InputError("store=null keeps nothing; leave it out")
    if not {*PARTS, *SIZES, "matching"} <= method.keys():
        raise InputError(f"{method['_target_']} analyses no pictures; pass method=stylegallery or a variant of it")
    limit, place = of_store["limit"], of_store["folder"]
    if store:
        try:
            place = str(Path(store).expanduser().absolute())
        except RuntimeError as error:
            raise InputError(f"--store {store} begins with a user who has no home; pass the whole path") from error
        quoted = place.replace("\\", "\\\\").replace("'", "\\'")
        overrides.append(f"store.folder='{quoted}'")
    return Gallery(resolved, overrides, settings, int(seeds[-1]), AnalysisStore(method, place, limit))


def entries_of(found: Iterable[Table]) -> set[str]:
    """Names of the entries of galleries: of every picture's own, and of those with the descriptors of many."""
    from stylegallery.descriptors import names_of

    keys = [[row.key for row in table.rows.values()] for table in found]
    return {name for own in keys for name in (*own, *names_of(own))}


def build(gallery: Gallery, console: Console) -> bool:
    """Analyse the pictures of the folder that are new or changed, and forget those that are gone. Whether all could be
    analysed and kept; what could not is named.

    Raises:
        InputError: there are no pictures, the method cannot be built, or the store cannot be written.
    """
    from stylegallery.descriptors import join

    paths, table, entries = pictures_of(gallery.folder), gallery.table(), gallery.store.analyses
    before, old = table.rows, entries_of([table])
    table.rows = {}
    for path in paths:
        if (row := before.get(path.name)) and row.is_of(path) and entries.has(row.key):
            table.rows[path.name] = row
    table.write()  # now, to find out whether it can be
    waiting = [path for path in paths if path.name not in table.rows]
    if waiting:
        analyse(gallery, table, waiting, console)
        table.rows = {path.name: table.rows[path.name] for path in paths if path.name in table.rows}
        table.write()
    join(entries, [row.key for row in table.rows.values()])  # in the order in which a run reads the folder
    alike = [other for other in gallery.tables() if other.settings == table.settings]
    outdated = [other for other in alike if other.recipe != table.recipe]  # those of other machines stay
    for other in outdated:
        other.remove()
    gallery.forget(old | entries_of(outdated))
    new, left_out = len(table.rows.keys() & {path.name for path in waiting}), len(paths) - len(table.rows)
    gone = len(before.keys() - {path.name for path in paths})
    console.print(
        f"{gallery}: {new} analysed now, {len(paths) - len(waiting)} before, {left_out} left out, {gone} gone"
    )
    if left_out:
        console.print("a run with references= this folder needs those mended or moved that were left out", style="red")
    if lost := sum(not entries.has(row.key) for row in table.rows.values()):
        console.print(
            f"{lost} made room for others or were removed meanwhile; build again, with a larger store.limit= here "
            "and in runs if the store is full",
            style="red",
        )
    return not left_out and not lost


def pictures_of(folder: Path) -> list[Path]:
    """Raises InputError where `folder` is none or holds no picture."""
    try:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; pass one of pictures")
    except OSError as error:  # its name is too long
        raise unreachable(str(folder), error) from error
    return list_images(str(folder))


def analyse(gallery: Gallery, table: Table, paths: Sequence[Path], console: Console) -> None:
    """Analyse pictures and give each a row of the table, which is written from time to time. Those that cannot be used
    are named.

    Raises:
        InputError: what keeps every picture from being analysed and kept.
    """
    from stylegallery.memory import enough_memory
    from stylegallery.pipeline import StyleGallery

    method = StyleGallery.from_config(*gallery.overrides)
    size, written = method.segmentation.inversion_batch, time.monotonic()
    groups = [list(paths[first : first + size]) for first in range(0, len(paths), size)]
    with Bars(console) as bars:
        bar = bars.add_task("pictures", total=len(paths))
        try:
            while groups:
                group = groups.pop(0)
                try:
                    with enough_memory():
                        table.rows |= rows_of(gallery, method.analyser, group)
                except (SettingsError, MachineError):
                    raise
                except (InputError, FloatingPointError) as error:
                    if len(group) > 1:
                        groups = [[path] for path in group] + groups
                        continue
                    console.print(f"left out: {error}", style="red")
                bars.advance(bar, len(group))
                if time.monotonic() - written > OFTEN:
                    table.write()
                    written = time.monotonic()
        finally:
            table.write()


def stat_of(path: Path) -> os.stat_result:
    """Raises InputError where a picture cannot be reached: it was removed meanwhile, or a link leads nowhere."""
    try:
        return path.stat()
    except OSError as error:
        raise unreachable(str(path), error) from error


def rows_of(gallery: Gallery, analyser: "Analyser", paths: Sequence[Path]) -> dict[str, Row]:
    """Rows of pictures by their names; they are analysed, unless the store has them.

    Raises:
        InputError: one of the pictures cannot be used.
        MachineError: the store could not keep what was found.
    """
    rows, store = {}, gallery.store
    stats = [stat_of(path) for path in paths]  # first, so that a file that changes meanwhile does not look as it did
    digests = [file_digest(path) for path in paths]
    analyses = analyser([(path, None) for path in paths], gallery.seed)
    for path, sha256, stat, analysis in zip(paths, digests, stats, analyses, strict=True):
        key = store.analysis_key(sha256, "", gallery.seed)
        if not store.analyses.has(key):
            raise MachineError(
                f"{store.analyses.folder} did not keep what was found of {path}; make room, pass a larger store.limit= "
                "or another --store"
            )
        rows[path.name] = Row(stat.st_size, stat.st_mtime_ns, sha256, key, len(analysis.descriptors.circles))
    return rows


def info(gallery: Gallery, console: Console) -> None:
    """What there is of the folder. Raises InputError where nothing was built of it."""
    paths, found = {path.name: path for path in pictures_of(gallery.folder)}, gallery.tables()
    require_any(gallery, found)
    columns = ("settings", "state", "pictures", "regions", "MiB", "missing", "changed", "gone")
    shown = listing(*columns, title=f"{gallery}: {len(paths)} pictures, analyses in {gallery.place.parent}")
    mine, has = gallery.table(), gallery.store.analyses.has
    for table in found:
        rows = table.rows
        counts = {
            "pictures": len(rows),
            "regions": sum(row.regions for row in rows.values()),
            "MiB": round(gallery.bytes_of(entries_of([table])) / 2**20, 1),
            "missing": sum(name not in rows or not has(rows[name].key) for name in paths),
            "changed": sum(name in paths and not row.is_of(paths[name]) for name, row in rows.items()),
            "gone": len(rows.keys() - paths),
        }
        if table.settings != mine.settings:
            state = "other settings"
        elif table.recipe != mine.recipe:
            state = "outdated"
        else:
            state = "these settings" if table.path == mine.path else "other machine"
        shown.add_row(" ".join(table.settings), state, *map(str, counts.values()))
    console.print(shown)


def remove(gallery: Gallery, console: Console) -> None:
    """All that there is of the folder, with whatever settings. Raises InputError where nothing is."""
    found = gallery.tables()
    require_any(gallery, found)
    keys, names = {row.key for table in found for row in table.rows.values()}, entries_of(found)
    size = gallery.bytes_of(names)
    for table in found:
        table.remove()
    gallery.forget(names)
    freed = (size - gallery.bytes_of(names)) / 2**20
    console.print(f"{gallery}: {len(keys)} analyses removed, {freed:.1f} MiB; entries of other galleries stay")


def require_any(gallery: Gallery, found: Sequence[Table]) -> None:
    if not found:
        raise InputError(
            f"{gallery.place.parent} holds nothing of {gallery.folder}; fill it with: "
            f"python -m stylegallery.gallery build {gallery.folder}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m stylegallery.gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["build", "info", "remove"])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    parser.add_argument(
        "--store",
        metavar="DIR",
        help="where analyses are kept (default: that of run.py, below $XDG_CACHE_HOME or ~/.cache)",
    )
    options = parser.parse_intermixed_args(arguments)
    console, whole = plain_console(), True
    with explained_errors():
        chosen = gallery(options.folder, options.settings, options.store)
        if options.command == "build":
            whole = build(chosen, console)
        elif options.command == "info":
            info(chosen, console)
        else:
            remove(chosen, console)
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
