"""What is said of a file in a run folder that cannot be read."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from harness.schemas import read
from stylegallery.errors import InputError

NUMBERS = TypeAdapter(list[int])


def said(path: Path, **options: bool) -> str:
    with pytest.raises(InputError) as raised:
        read(path, NUMBERS, "do it again", **options)
    return str(raised.value).removeprefix(f"{path} cannot be read ")


@pytest.mark.parametrize(("kept", "remedy"), [(False, "delete it and do it again"), (True, "do it again")])
def test_only_what_can_be_made_again_is_to_be_deleted(kept: bool, remedy: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    assert said(path, kept=kept) == "(is missing); do it again"  # and there is nothing to delete
    path.write_text("[")
    assert said(path, kept=kept).endswith(f"); {remedy}")
    path.write_text('["text"]')
    assert said(path, kept=kept).startswith("(0: ") and said(path, kept=kept).endswith(f"); {remedy}")
