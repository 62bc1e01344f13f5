"""Pages say in their first line which command generated them, so that a command replaces no other file."""

import os
from collections.abc import Iterable
from pathlib import Path

from stylegallery.errors import InputError


def generated(path: Path, mark: str) -> bool:
    """Whether a page is one that the command of this mark wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(mark.encode())) == mark.encode()


def require_own(page: Path, mark: str, files: Iterable[Path]) -> None:
    """Raises InputError where one of the files that a command writes beside its page is there, and no page with the
    mark of the command."""
    if not generated(page, mark) and (others := [path for path in files if os.path.lexists(path)]):
        raise InputError(
            f"{others[0]} is not replaced, as {page.name} does not say that this command wrote it; move it away"
        )
