"""Locks of an output folder: `flock` on files in OUT/.locks.

The kernel keeps a lock for as long as its process lives, so that no lock is ever stale. Across machines this
needs a file system with shared locks (NFS 4, Lustre with `flock`, GPFS, CephFS).
"""

import errno
import os
import tempfile
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from harness.folder import RunFolder, require_inside
from stylegallery.files import notice, writable

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@cache
def has_locks(out: Path) -> bool:
    """Whether the file system of a folder has locks; where it has none, a notice says once what to do."""
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


def lock(out: Path, name: str) -> FileLock | nullcontext[None]:
    """The lock of an item (`<label>/<item>`), of the frozen settings (`config`) or of a single result (`run`); nothing
    that keeps anybody out on a file system without locks.

    Raises:
        InputError: it would be elsewhere by a link.
    """
    path = RunFolder(out).lock(name)
    require_inside(path.parent, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, poll_interval=0.2) if has_locks(out) else nullcontext()


def taken(out: Path, name: str, wait: bool) -> AbstractContextManager[object] | None:
    """The lock of that name, held until a `with` of it ends; None where another process has it and `wait` is false.

    Raises:
        MachineError: it cannot be made.
    """
    with writable(out):
        try:
            held = lock(out, name)
            return held.acquire(blocking=wait) if isinstance(held, FileLock) else held
        except Timeout:
            return None


def holder(out: Path, label: str, item: str) -> str | None:
    """`host pid` of the process that has the lock of an item; None where no process has it."""
    path = RunFolder(out).lock(f"{label}/{item}")
    if not is_held(path):
        return None
    try:
        return path.read_text(encoding="utf-8").strip() or "starting"
    except PermissionError:  # on Windows the file of a held lock cannot be read
        return "a process"


def is_held(path: Path) -> bool:
    """Whether a process has a lock. The file is only read, so that this works in a folder that cannot be written."""
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
