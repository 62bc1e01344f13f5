"""What commands print is whole at 80 columns, and a row is a line in a pipe."""

from pathlib import Path

import pytest

from harness.status import Status, show
from stylegallery.command import listing, plain_console
from stylegallery.weights import table
from stylegallery.weights.__main__ import main


def test_weights_at_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["status"])
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in printed
    words = printed.split()
    for entry in table().values():
        assert entry.name in words
        for needed in entry.needed_by:
            assert all({word, f"{word},"} & set(words) for word in needed.split() if len(word) < 22), needed


def test_weights_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    main(["status"])
    rows = capsys.readouterr().out.splitlines()
    for entry in table().values():
        (row,) = [row for row in rows if row.split()[:1] == [entry.name]]
        assert ", ".join(entry.needed_by) in row and entry.licence in row
    assert not any(line in "".join(rows) for line in "│┃━─")


@pytest.mark.parametrize("columns", ["80", None])
def test_status_of_long_labels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str | None
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    else:
        monkeypatch.delenv("COLUMNS", raising=False)
    label = "stylegallery@method.guidance.content_weight=0.22,method.guidance.layers=4"
    found = [Status(label, 750, done=["a"] * 700, missing=["b"] * 50, seconds_left=1e6)]
    show(Path("out"), found, plain_console())
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "planned" in printed and "outdated" in printed and "11 days, 13:46:40" in " ".join(printed.split())
    if columns:
        assert max(map(len, printed.splitlines())) <= 80
    else:
        (row,) = [row for row in printed.splitlines() if label in row]
        assert row.split()[1:4] == ["750", "700", "0"]


def test_cells_are_folded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    table = listing("name", title="title")
    table.add_row("x" * 50)
    plain_console().print(table)
    assert capsys.readouterr().out.count("x") == 50
