"""Downloads over HTTP: they continue where a transfer broke off and try again where a server is busy; whatever stops
them is explained in one sentence."""

import errno
import hashlib
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from stylegallery.errors import InputError, first_line

CHUNK = 2**20
WAITS = (1, 2, 4, 8)  # seconds between tries; a try that brought anything starts them anew
LONGEST_WAIT = 60  # seconds, however long a server asks us to wait
BUSY = (408, 429, 500, 502, 503, 504)
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
AGAIN = "then run the same command again to continue"

Advance = Callable[[int, int | None], None]  # bytes received so far, and of how many


class Broken(Exception):
    """A transfer ended before its file did."""


def download(
    url: str, target: Path, sha256: str = "", token: str | None = None, advance: Advance = lambda size, total: None
) -> None:
    """Get one file by way of <target>.part, of which only the missing bytes are asked for.

    `sha256` is a digest, its first digits or nothing; `token` is sent to the server of `url` alone, not to those that
    it redirects to.

    Raises:
        InputError: another process gets the same file, the file is a web page or has another digest.
        OSError, HTTPException, Broken: whatever stopped the transfer, to be passed to `explained`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    lock = Path(f"{part}.lock")
    try:
        with FileLock(lock, blocking=False):
            if not target.exists():  # another process may have fetched it meanwhile
                persist(url, part, token, advance)
                check(part, sha256, url)
                part.replace(target)
            lock.unlink(missing_ok=True)
    except Timeout as error:
        raise InputError(f"{target} is being downloaded by another process; wait for it, {AGAIN}") from error


def persist(url: str, part: Path, token: str | None, advance: Advance) -> None:
    """Send requests until `part` is whole, as long as the server is only busy or breaks off."""
    tries = 0
    while True:
        before = size_of(part)
        try:
            return receive(url, part, token, advance)
        except (OSError, HTTPException, Broken) as error:
            tries = tries if size_of(part) <= before else 0
            if tries >= len(WAITS) or not passing(error):
                raise
            time.sleep(max(WAITS[tries], asked_wait(error)))
            tries += 1


def passing(error: Exception) -> bool:
    """Whether another try may help: after a busy server or a broken transfer, not after a refusal or on a full disk."""
    if isinstance(error, HTTPError):
        return error.code in BUSY
    return isinstance(error, Broken | HTTPException | ConnectionResetError | TimeoutError)


def asked_wait(error: Exception) -> int:
    """Seconds that a busy server asks to wait, within reason."""
    asked = error.headers.get("Retry-After", "") if isinstance(error, HTTPError) else ""
    return min(int(asked), LONGEST_WAIT) if asked.isdecimal() else 0


def receive(url: str, part: Path, token: str | None, advance: Advance) -> None:
    """One request for the bytes that `part` lacks."""
    offset = size_of(part)
    request = Request(url, headers={"User-Agent": "stylegallery-bench"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        response = urlopen(request, timeout=60)
    except HTTPError as error:
        if error.code == 416:  # nothing is left to send: the digest tells whether the part is the whole
            return
        raise
    with response:
        if response.headers.get_content_type() == "text/html":
            raise InputError(f"{url} answered with a web page, not with the file; try again later")
        offset = offset if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else None
        with part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                advance(file.tell(), total)
    size = size_of(part)
    if total is not None and size < total:
        raise Broken(f"the transfer broke off after {size} of {total} bytes")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check(path: Path, sha256: str, name: str) -> None:
    """Raises InputError, and removes the file, where its digest does not begin with `sha256`."""
    digest = digest_of(path) if sha256 else ""
    if not digest.startswith(sha256):
        path.resolve().unlink()  # the file itself: in the hub's cache `path` is a link
        path.unlink(missing_ok=True)
        raise InputError(
            f"{name} has sha256 {digest[:16]}… instead of {sha256[:16]}… and was removed; run the same command again"
        )


def require_space(folder: Path, size: float, what: str, remedy: str) -> None:
    """Raises InputError where `size` bytes and a tenth more do not fit on the disk of a folder that may not exist."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < 1.1 * size:
        raise InputError(f"{folder} needs {1.1 * size / 1e9:.1f} GB for {what} and has {free / 1e9:.1f} GB; {remedy}")


# --- what went wrong ---


def explained(error: BaseException, what: str, url: str, folder: Path, remedy: str) -> InputError:
    """The sentence for what stopped the transfer of `what` from `url` to `folder`.

    `remedy` names the settings that move the folder to another disk. `error` comes from `download`, or from the hub's
    client, which wraps the cause in errors of its own.
    """
    causes = list(chain(error))
    host = urlsplit(url).hostname or url
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return InputError(
                f"{what} could not be downloaded, since no safe connection to {host} is possible ({detail(cause)}); "
                f"set SSL_CERT_FILE to the certificates of your network and check the clock, {AGAIN}"
            )
        if isinstance(cause, OSError) and cause.errno in FULL:
            return InputError(
                f"{what} could not be written, since the disk of {folder} is full; free space there or {remedy}, "
                f"{AGAIN}"
            )
        if (
            isinstance(cause, OSError) and cause.errno in FORBIDDEN and cause.filename
        ):  # without a file it is a firewall's
            return InputError(
                f"{what} could not be written to {folder} ({cause.strerror}); change its permissions or {remedy}"
            )
        if answer := answer_of(cause):
            return InputError(f"{what} could not be downloaded: {refusal(*answer, url)}")
        if type(cause).__name__ == "OfflineModeIsEnabled":
            return InputError(f"{what} could not be downloaded, since HF_HUB_OFFLINE is set; unset it and try again")
    broken = next((cause for cause in causes if isinstance(cause, Broken)), None)
    if broken:
        return InputError(f"{what} is not whole: {broken}; run the same command again to continue")
    return InputError(
        f"{what} could not be downloaded, since {host} does not answer ({detail(causes[-1])}); check the network, "
        f"{AGAIN}"
    )


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        reason = error.reason if isinstance(error, URLError) else None
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__


def detail(error: BaseException) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def answer_of(error: BaseException) -> tuple[int, str] | None:
    """Status and the hub's word for it, of urllib's errors and of those of the hub's client."""
    if isinstance(error, HTTPError):
        headers: Message | dict[str, str] = error.headers
        return error.code, headers.get("X-Error-Code") or ""
    if response := getattr(error, "response", None):
        return response.status_code, response.headers.get("X-Error-Code") or ""
    return None


def refusal(status: int, code: str, url: str) -> str:
    """What a server's refusal means, and what to do."""
    host = urlsplit(url).hostname
    login = "log in with: hf auth login"
    if code == "GatedRepo":
        return f"its owner asks for consent; accept the terms at {url} with your account and {login}"
    if status == 401:
        return f"{url} does not exist, is private or your token is refused ({status}); check the name, or {login}"
    if status == 403:
        return f"{host} forbids it to you ({status}); see {url} for the terms, and {login}"
    if status in (404, 410):
        missing = {"RevisionNotFound": "the revision is", "EntryNotFound": "the file is"}.get(code, "it is")
        return f"{missing} not at {url} ({status}); correct the entry, or pass a folder that you have"
    if status == 429:
        return f"{host} limits how often you may ask ({status}); wait some minutes, {AGAIN}"
    if status in BUSY:
        return f"{host} is out of order ({status}); try again later, which continues"
    return f"{url} answered {status}; try again later"
