"""Draw the manifests in `data/manifests`: `python -m data.make_manifests`; the bytes never vary.

The paper publishes no list of its 750 results, only that 1, 2, 3 or 5 references are drawn per content. Draws
are ranks by the SHA-256 digests of (seed, what is drawn), which do not depend on the version of any library.
"""

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from data.benchmark import MANIFESTS, read_digests

SEED = 0
COUNTS = (1, 2, 3, 5)  # numbers of references (paper §4.1)


class Row(NamedTuple):
    id: str
    content: str
    references: tuple[str, ...]

    @property
    def family(self) -> str:
        """Of the first reference."""
        return PurePosixPath(self.references[0]).parent.name


def stem(path: str) -> str:
    return PurePosixPath(path).stem


def draw(*key: object) -> int:
    """A whole number from 0 to 2^64 - 1 that depends on the seed and the key alone."""
    return int.from_bytes(hashlib.sha256(repr((SEED, *key)).encode()).digest()[:8], "big")


def shuffled(values: Iterable[str], *key: object) -> list[str]:
    return sorted(values, key=lambda value: draw(*key, value))


def pictures() -> tuple[list[str], dict[str, list[str]]]:
    """The contents of the published benchmark, and its styles by family."""
    contents, families = [], defaultdict(list)
    for path in sorted(read_digests("stylegallery")):
        match path.split("/"):
            case ["content", _]:
                contents.append(path)
            case ["style", family, _]:
                families[family].append(path)
    return contents, dict(families)


def stylegallery() -> list[Row]:
    """15 contents x 25 families x 2 different sets of references; a set is of one family and at most as large as it."""
    contents, families = pictures()
    rows = []
    for content in contents:
        for family, styles in families.items():
            seen: set[frozenset[str]] = set()
            attempt = 0
            while len(seen) < 2:
                attempt += 1
                key = ("stylegallery", content, family, attempt)
                count = min(COUNTS[draw(*key) % len(COUNTS)], len(styles))
                references = tuple(shuffled(styles, *key)[:count])
                if frozenset(references) not in seen:
                    seen.add(frozenset(references))
                    letter = "ab"[len(seen) - 1]
                    rows.append(Row(f"{stem(content)}__{family}__{count}__{letter}", content, references))
    return rows


def mixed() -> list[Row]:
    """750 items, each with 2, 3 or 5 references of as many families; every family is the first equally often."""
    contents, families = pictures()
    rows = []
    for content in contents:
        for family in families:
            for letter in "ab":
                key = ("mixed", content, family, letter)
                count = COUNTS[1:][draw(*key) % 3]
                others = [other for other in shuffled(families, *key) if other != family]
                references = tuple(shuffled(families[f], *key)[0] for f in [family, *others[: count - 1]])
                rows.append(Row(f"{stem(content)}__mixed-{family}__{count}__{letter}", content, references))
    return rows


def references() -> list[Row]:
    """Every content with 1, 2, 3, 5 and 20 references of different families, each set within the next."""
    contents, families = pictures()
    rows = []
    for content in contents:
        key = ("references", content)
        order = [shuffled(families[family], *key)[0] for family in shuffled(families, *key)]
        rows += [Row(f"{stem(content)}__references__{count}", content, tuple(order[:count])) for count in (*COUNTS, 20)]
    return rows


def subset(rows: list[Row]) -> list[Row]:
    """Four items of every content, with numbers of references and families as even as possible."""
    counts = sorted({len(row.references) for row in rows} & set(COUNTS))
    used: Counter[str] = Counter()
    chosen = set()
    for index, content in enumerate(sorted({row.content for row in rows})):
        for position in range(4):
            count = counts[(4 * index + position) % len(counts)]
            candidates = [r for r in rows if r.content == content and len(r.references) == count and r not in chosen]
            best = min(candidates, key=lambda row: (used[row.family], draw("subset", row.id)))
            used[best.family] += 1
            chosen.add(best)
    return [row for row in rows if row in chosen]


def styleid() -> list[Row]:
    """Every content with every style."""
    paths = sorted(read_digests("styleid"))
    contents, styles = ([path for path in paths if path.startswith(kind)] for kind in ("content/", "style/"))
    return [Row(f"{stem(content)}__{stem(style)}", content, (style,)) for content in contents for style in styles]


def as_csv(rows: list[Row]) -> str:
    """References are separated by a space."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows((row.id, row.content, " ".join(row.references)) for row in rows)
    return text.getvalue()


def manifests() -> dict[str, list[Row]]:
    one, several = stylegallery(), mixed()
    return {
        "stylegallery": one,
        "stylegallery60": subset(one),
        "mixed": several,
        "mixed60": subset(several),
        "references": references(),
        "styleid": styleid(),
    }


if __name__ == "__main__":
    for manifest, rows in manifests().items():
        (MANIFESTS / f"{manifest}.csv").write_text(as_csv(rows), encoding="utf-8")
