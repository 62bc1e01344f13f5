"""What decides the address of a result, and what does not."""

import errno
from pathlib import Path
from typing import Any

import pytest
from conftest import Pictures, paint

from harness.record import Request
from stylegallery.contract import Item, MatchConstraints
from stylegallery.errors import InputError

CONFIG = {"method": {"steps": 2}}


def item_of(pictures: Pictures, **changes: Any) -> Item:
    values = {"id": "item", "content": pictures.content, "references": (pictures.first, pictures.second)}
    constraints = {name: changes.pop(name) for name in ("pins", "excluded", "forbidden") if name in changes}
    return Item(**(values | changes), constraints=MatchConstraints(**constraints))


def digest_of(item: Item, seed: int = 0, config: dict[str, Any] = CONFIG) -> str:
    return Request.of(item, seed, config).digest()


def test_digest_repeats_and_ignores_where_files_lie(pictures: Pictures, tmp_path: Path) -> None:
    copies = [path.rename(tmp_path / f"moved_{path.name}") for path in pictures]
    moved = digest_of(item_of(Pictures(*copies)))
    for copy, path in zip(copies, pictures, strict=True):
        copy.rename(path)
    assert digest_of(item_of(pictures)) == digest_of(item_of(pictures)) == moved
    assert digest_of(item_of(pictures, id="other")) == moved
    for looks_up in ({"pattern": "{item}.png"}, {"nested": {"captions": __file__}}):  # of a method that goes by names
        seen = {digest_of(item_of(pictures, id=name), config=looks_up) for name in ("item", "other")}
        renamed = paint(tmp_path / "renamed.png", 1, (80, 64))
        assert renamed.read_bytes() == pictures.content.read_bytes()
        seen.add(digest_of(item_of(pictures, content=renamed), config=looks_up))
        assert len(seen) == 3
    one, other = (1, 2, 1), ((0.5, 0.5), 1, 1)
    assert digest_of(item_of(pictures, forbidden=(one, other), pins={1: (1, 1), 2: (2, 2)}, excluded=(1, 2))) == (
        digest_of(item_of(pictures, forbidden=(other, one), pins={2: (2, 2), 1: (1, 1)}, excluded=(2, 1)))
    )
    assert len(moved) == 16


def test_every_part_of_the_request_decides(pictures: Pictures, tmp_path: Path) -> None:
    base = item_of(pictures)
    digests = [
        digest_of(base),
        digest_of(base, seed=1),
        digest_of(base, config={"method": {"steps": 3}}),
        digest_of(item_of(pictures, content=pictures.second)),
        digest_of(item_of(pictures, references=(pictures.second, pictures.first))),
        digest_of(item_of(pictures, references=(pictures.first,))),
        digest_of(item_of(pictures, pins={1: (2, 1)})),
        digest_of(item_of(pictures, pins={(0.25, 1.0): (2, (0.5, 0.5))})),
        digest_of(item_of(pictures, excluded=(1,))),
        digest_of(item_of(pictures, forbidden=((1, 2, 1),))),
        digest_of(item_of(pictures, mask=paint(tmp_path / "mask.png", 4))),
    ]
    assert len(set(digests)) == len(digests)


def test_role_of_a_file_decides(pictures: Pictures) -> None:
    """The same files mean something else as content, reference, mask of the content or mask of a reference."""
    first, second, mask = pictures.first, pictures.second, pictures.content
    items = {
        "plain": item_of(pictures),
        "repeated": item_of(pictures, references=(first, second, first)),
        "content among references": item_of(pictures, references=(pictures.content, first, second)),
        "second as mask": item_of(pictures, references=(first,), mask=second),
        "second as reference mask": item_of(pictures, references=(first,), reference_masks=(second,)),
        "mask": item_of(pictures, content=second, references=(first, first), mask=mask),
        "first mask": item_of(pictures, content=second, references=(first, first), reference_masks=(mask,)),
        "second mask": item_of(pictures, content=second, references=(first, first), reference_masks=(None, mask)),
    }
    seen: dict[str, list[str]] = {}
    for name, item in items.items():
        seen.setdefault(digest_of(item), []).append(name)
    assert [names for names in seen.values() if len(names) > 1] == []


def test_changed_bytes_change_the_digest(pictures: Pictures) -> None:
    for path in pictures:
        before = digest_of(item_of(pictures))
        path.write_bytes(path.read_bytes() + b"\0")
        assert digest_of(item_of(pictures)) != before


def test_changed_code_changes_the_digest(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of(item_of(pictures))
    monkeypatch.setattr("harness.record.code_digest", lambda config: "of other sources")
    assert digest_of(item_of(pictures)) != before


def test_input_that_cannot_be_read(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refuse(path: Path, *options: Any, **named: Any) -> Any:
        if path == pictures.second:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *options, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"second\.jpg cannot be read \(Permission denied\); check the path"):
        Request.of(item_of(pictures), 0, CONFIG)
