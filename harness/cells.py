"""Cells: the items of a benchmark done by one method, each exactly once, whatever happens to the processes.

A job is one process. Any number of jobs, on any number of machines that share the output folder, may run the same
items: the lock of a cell (`flock` on a file in OUT/.locks, kept by the kernel for as long as its process lives, so
that no lock is ever stale) lets one of them do it, and who finds a lock taken looks again when everything else is
done. Across machines this needs a file system with shared locks (NFS 4, Lustre with `flock`, GPFS, CephFS); on others
give every machine a shard of its own. Even without locks nothing is corrupted: results move in whole.
"""

import errno
import hashlib
import json
import math
import os
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from subprocess import SubprocessError
from typing import Annotated, Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from rich.console import Console

from data.benchmark import PLACES, load_items, places
from harness.progress import Bars
from harness.provenance import (
    code_digest,
    file_digest,
    weights_digests,
    with_absolute_paths,
    without_places,
)
from harness.record import (
    Request,
    intact,
    prepare_folder,
    read_record,
    require_apart,
    require_inside,
    write_failure,
    write_result,
)
from harness.schemas import LABEL, RECORD, WRITTEN
from harness.stored import read_frozen
from harness.whole import clear_partial
from stylegallery.contract import Item, Method
from stylegallery.draws import item_generator
from stylegallery.errors import InputError, printable, require
from stylegallery.files import notice, replacing
from stylegallery.memory import enough_memory
from stylegallery.settings import check, check_values

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
OF_A_RUN = {
    "seed": Annotated[int, Field(ge=0, lt=2**63)],
    "limit": Annotated[int, Field(ge=1)] | None,
    "out": str | int | float | None,  # a name may look like a number
    "label": str | int | float | None,
    "shard": str,
}


@dataclass(frozen=True)
class Job:
    """One method, with its resolved settings, and the items that this process sees to."""

    out: Path
    label: str
    seed: int
    method: dict[str, Any]
    items: list[Item]
    settings: str | None = None  # digest of what is frozen, which must stay so; None where nothing is
    root: str | None = None  # of the benchmark's pictures, where it has one

    def __post_init__(self) -> None:
        code_digest(self.method)  # of the sources as they are now, although other jobs may run before this one

    @classmethod
    def of(cls, config: DictConfig, label: str) -> "Job":
        """The job of a composed config; its settings are frozen in OUT/config/<label>.yaml first.

        Raises:
            InputError: bad label, shard or limit, an incomplete benchmark, or OUT has the label with other settings.
        """
        rule = "label consists of letters, digits and _.@=+,- and begins with a letter, a digit or _"
        require(LABEL.fullmatch(label) is not None, rule, label)
        settings = settings_of(config)
        check(settings["method"], "method")
        out = Path(str(config.out or f"outputs/{config.data.get('manifest', 'folder')}"))
        items = load_items(config.data)
        mine = items[: config.limit][parse_shard(str(config.shard))]
        frozen = freeze(out, label, config, items)
        root = places(settings["data"]).get("root")
        return cls(out, label, config.seed, frozen["method"], mine, frozen["settings"], root)

    def folder(self, item: Item) -> Path:
        return self.out / "cells" / self.label / item.id


def parse_shard(shard: str) -> slice:
    """`k/n`, k counted from 0: every n-th item, so that shards are alike."""
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or int(found[1]) >= int(found[2]):
        raise InputError(f"shard is {shard}; pass k/n with k from 0 to n-1, such as 0/4")
    return slice(int(found[1]), None, int(found[2]))


# --- settings that stay as they were ---


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Seed, data and method of a composed config, resolved.

    Raises:
        InputError: a number in them is NaN or infinite, or a setting of the run is not of its type.
    """
    given: Any = OmegaConf.to_container(OmegaConf.create({name: config[name] for name in OF_A_RUN}))
    check_values(given, OF_A_RUN)
    settings: dict[str, Any] = {"seed": config.seed}
    for key in ("data", "method"):
        settings[key] = OmegaConf.to_container(config[key], resolve=True)
    for name in not_finite(settings):
        raise InputError(f"{name} is not a finite number; pass another {name}=")
    return settings


def not_finite(value: object, name: str = "") -> Iterator[str]:
    """Dotted names of the numbers in settings that are NaN or infinite."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from not_finite(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from not_finite(inner, name)
    elif isinstance(value, float) and not math.isfinite(value):
        yield name


def freeze(out: Path, label: str, config: DictConfig, items: Sequence[Item] = ()) -> dict[str, Any]:
    """Write what decides the results of a label to OUT/config/<label>.yaml, or compare it with what is there.

    Returns seed, data, method (resolved, paths absolute) and limit, and under `settings` the digest of what is frozen.
    The root of a benchmark's pictures is left out; limit, the number of items that are planned, may change, where
    things lie too, as long as they are the same things (`items` are all of the benchmark), and everything as long as
    there are no results. While processes work with other places, on other machines perhaps, theirs stay in the file.

    Raises:
        InputError: the label was made with other settings, which the message names, or OUT cannot be written.
    """
    now = {"label": label, "limit": config.limit, **settings_of(config)}
    now["data"] |= places(now["data"])
    now["data"].pop("root", None)
    now["method"] = with_absolute_paths(now["method"])
    prepare_folder(out / "config")
    with writable(out), lock(out, "config"):
        path = out / "config" / f"{label}.yaml"
        if path.exists():
            old = read_frozen(path)
            changed = differences(old | {"limit": config.limit}, now)
            if changed and in_use(out, label) and not same_things(out, label, old, now, items):
                raise InputError(
                    f"{out} holds {label} with other settings ({'; '.join(changed[:5])}"
                    f"{f'; {len(changed) - 5} more' if len(changed) > 5 else ''}); "
                    "pass label= with a new name or another out="
                )
            if changed and at_work(out, label):
                return now | {"settings": settings_digest(old)}
        with replacing(path) as temporary:
            temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(now)), encoding="utf-8")
    return now | {"settings": settings_digest(now)}


def deciding(frozen: Mapping[str, Any]) -> dict[str, Any]:
    """Frozen settings without the places of pictures and weights, and without the limit."""
    data = {key: value for key, value in frozen["data"].items() if "manifest" in frozen["data"] or key not in PLACES}
    return {"seed": frozen["seed"], "data": data, "method": without_places(frozen["method"])}


def same_things(out: Path, label: str, old: Mapping[str, Any], now: Mapping[str, Any], items: Sequence[Item]) -> bool:
    """Whether settings differ in places alone and the results of a label were made of the pictures and the weights that
    are there now: a folder that was moved, or is spelled differently."""
    if differences(deciding(old), deciding(now)):
        return False
    records = [record for folder in (out / "cells" / label).glob("*/") if (record := read_record(folder))]
    done = [record for record in records if "error" not in record]
    known = {item.id: item for item in items}
    return bool(done) and all(
        record["weights"] == weights_digests(now["method"])
        and record["item"] in known
        and inputs_digest(known[record["item"]]) == digest_of({r: e["sha256"] for r, e in record["inputs"].items()})
        for record in done
    )


def inputs_digest(item: Item) -> str:
    """Digest of all that an item reads, by roles; "unreadable" where that cannot be done."""
    try:
        return digest_of({role: file_digest(path) for role, path in item.files().items()})
    except InputError:
        return "unreadable"


def settings_digest(frozen: Mapping[str, Any]) -> str:
    """Digest of frozen settings; the limit may change."""
    return digest_of({key: frozen[key] for key in ("seed", "data", "method")})


def digest_of(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def in_use(out: Path, label: str) -> bool:
    """Whether a label has a result or a process at work on one; failures are done again with any settings."""
    records = (read_record(folder) for folder in (out / "cells" / label).glob("*/"))
    return any(record and "error" not in record for record in records) or at_work(out, label)


def at_work(out: Path, label: str) -> bool:
    """Whether a process has an item of a label."""
    return any(holder(out, label, path.stem) for path in (out / ".locks" / label).glob("*.lock"))


def differences(old: object, new: object, name: str = "") -> list[str]:
    """`method.guidance.steps: 150 there, 28 now` for every setting that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        inner = (differences(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")) for key in keys)
        return [difference for differences in inner for difference in differences]
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)  # as in the digest: 1 is not 1.0
    return [] if same else [f"{name}: {old} there, {new} now"]


# --- locks ---


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Raises InputError in place of the system's error where OUT cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({error.strerror or error}); make room or pass another out="
        ) from error


class NoLock:
    """In place of a lock where the file system has none: everybody gets it."""

    def __init__(self, path: Path) -> None:
        self.lock_file = str(path)

    def acquire(self, blocking: bool = True) -> "NoLock":
        return self

    def release(self) -> None:
        pass

    def __enter__(self) -> "NoLock":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@cache
def has_locks(out: Path) -> bool:
    """Whether the file system of a folder has locks; where it has none, what to do about that is said once."""
    if fcntl is None:  # Windows locks by other means
        return True
    try:
        with tempfile.TemporaryFile(dir=out) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        notice(
            f"{out} is on a file system without locks, so that two processes would do the same items; run one only, or "
            "give each a shard of its own: shard=0/2, shard=1/2"
        )
        return False
    return True


def lock(out: Path, name: str) -> FileLock | NoLock:
    """The lock of a cell (`<label>/<item>`), of the frozen settings (`config`) or of a single result (`run`).

    Raises:
        InputError: it would be elsewhere by a link.
    """
    path = lock_path(out, name)
    require_inside(path.parent, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, poll_interval=0.2) if has_locks(out) else NoLock(path)


def lock_path(out: Path, name: str) -> Path:
    return out / ".locks" / f"{name}.lock"


def claims(job: Job) -> Iterator[Item]:
    """Every item of a job, once, with its lock held until the next is asked for.

    Those that other processes hold come last, as soon as they are let go: done by then, or left by a dead process.

    Raises:
        InputError: a lock cannot be made.
    """
    later: list[Item] = []
    with writable(job.out):
        for wait, items in ((False, job.items), (True, later)):
            for item in items:
                claim = lock(job.out, f"{job.label}/{item.id}")
                try:
                    claim.acquire(blocking=wait)
                except Timeout:
                    later.append(item)
                    continue
                try:
                    with suppress(PermissionError):  # on Windows nobody writes to what is locked
                        Path(claim.lock_file).write_text(f"{socket.gethostname()} {os.getpid()}\n", encoding="utf-8")
                    require_settings(job)
                    yield item
                finally:
                    claim.release()


def require_settings(job: Job) -> None:
    """Raise InputError where the frozen settings of a job are no longer those that it was made with.

    Asked with the lock of an item held: who freezes other settings meanwhile sees that lock, or is seen here.
    """
    if job.settings is not None:
        with lock(job.out, "config"):
            frozen = read_frozen(job.out / "config" / f"{job.label}.yaml")
        if settings_digest(frozen) != job.settings:
            raise InputError(
                f"{job.out} holds {job.label} with settings of another start, which came after this one; "
                "pass label= with a new name or another out="
            )


def holder(out: Path, label: str, item: str) -> str | None:
    """`host pid` of the process that has the lock of a cell; None where no process has it."""
    path = lock_path(out, f"{label}/{item}")
    if not is_held(path):
        return None
    try:
        return path.read_text(encoding="utf-8").strip() or "starting"
    except PermissionError:  # on Windows nobody reads it either
        return "a process"


def is_held(path: Path) -> bool:
    """Whether a process has a lock. Its file is only read, so that this can be asked of a folder that nobody writes."""
    if fcntl is None:
        try:
            with FileLock(path, blocking=False) if path.exists() else nullcontext():
                return False
        except (Timeout, PermissionError):
            return True
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno not in NO_LOCKS
    finally:
        os.close(file)


# --- running ---


def run_cells(
    job: Job, build: Callable[[], Method], console: Console, mirror: Callable[[dict[str, Any]], None] | None = None
) -> Counter[str]:
    """Do every item of a job that has no valid result yet; counts of `done`, `there` and `failed`.

    `build` makes the method, once, when the first item needs it; `mirror` is told the record of every item.

    Raises:
        InputError: weights are missing, the method cannot be built, the settings do not suit it, or the results
            cannot be written: what no other item would change.
    """
    weights_digests(job.method)  # before any item: missing weights are nobody's failure but the settings'
    tally: Counter[str] = Counter(done=0, there=0, failed=0)
    method: Method | None = None
    unsuited = ""  # what a setting was told by the item before
    with Bars(console) as bars:
        bar = bars.add_task(job.label, total=len(job.items))
        for item in claims(job):
            folder = job.folder(item)
            prepare_folder(folder, job.out / "cells")
            clear_partial(folder, WRITTEN, RECORD)
            request, error, of_settings = None, "", False
            try:
                require_apart(folder, item)
                request = Request.of(item, job.seed, job.method)
            except InputError as problem:
                error = str(problem)
            record = read_record(folder)
            there = record and "error" not in record and intact(folder, record)
            if request and record and there and record["digest"] == request.digest():
                unsuited = ""
                tally["there"] += 1
                bars.update(bar, total=len(job.items) - tally["there"])  # the time left is that of the others
            else:
                if request:
                    method = method or build()
                    record, error, of_settings = attempt(method, item, job, request, folder, console)
                if of_settings and error == unsuited:
                    raise InputError(error)  # twice in the same words: no other item would fare better
                unsuited = error if of_settings else ""
                if error:
                    error = printable(error)
                    if request or not record or "error" in record:  # a result stays while its inputs cannot be read
                        record = write_failure(folder, item, job.seed, request, error, job.settings)
                    console.print(f"{item.id} failed: {error}", style="red", markup=False)
                tally["failed" if error else "done"] += 1
                bars.advance(bar)
            if mirror and record:
                mirror(record)
    return tally


def attempt(
    method: Method, item: Item, job: Job, request: Request, folder: Path, console: Console
) -> tuple[dict[str, Any] | None, str, bool]:
    """The record of an item, or why there is none and whether the settings are to blame: bad input that is no file."""
    try:
        with enough_memory():
            result = method.stylize(item, item_generator(job.seed, item))
        request.require_unchanged()
    except InputError as error:
        return None, str(error), not any(printable(str(path)) in str(error) for path in item.files().values())
    except FloatingPointError as error:
        return None, str(error), False
    except Exception as error:  # one item must not end a sweep of hundreds: a bug in a baseline
        if isinstance(error, SubprocessError) or type(error).__module__.startswith("submitit."):
            raise  # by the signal that ends this task of a cluster, not by the item
        console.print_exception()
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", False
    return write_result(folder, request, result, explain=False, settings=job.settings), "", False
