"""What the manifests promise."""

import re
from collections import Counter

import pytest

from data.benchmark import MANIFESTS, manifest_items, read_digests
from data.make_manifests import as_csv, manifests
from stylegallery.contract import Item

NAMES = ("stylegallery", "stylegallery60", "mixed", "mixed60", "styleid")


def items_of(manifest: str) -> list[Item]:
    return manifest_items(manifest, "styleid" if manifest == "styleid" else "stylegallery", "ROOT")


def families(item: Item) -> list[str]:
    return [path.parent.name for path in item.references]


@pytest.mark.parametrize("name", NAMES)
def test_manifest_is_what_the_seed_draws(name: str) -> None:
    assert (MANIFESTS / f"{name}.csv").read_text() == as_csv(manifests()[name])


@pytest.mark.parametrize(("name", "count"), zip(NAMES, (750, 60, 750, 60, 800), strict=True))
def test_ids_are_unique_and_name_folders(name: str, count: int) -> None:
    ids = [item.id for item in items_of(name)]
    assert len(set(ids)) == len(ids) == count
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", one) for one in ids)


@pytest.mark.parametrize(("name", "files"), [(name, "stylegallery") for name in NAMES[:4]] + [("styleid", "styleid")])
def test_every_file_of_a_manifest_has_a_digest(name: str, files: str) -> None:
    digests = read_digests(files)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests.values())
    used = {path.relative_to("ROOT").as_posix() for item in items_of(name) for path in item.files().values()}
    assert used <= digests.keys()
    if not name.endswith("60"):
        assert used == digests.keys() - {"LICENSE"}


def test_digests_count_the_published_files() -> None:
    paths = read_digests("stylegallery").keys()
    assert Counter(path.split("/")[0] for path in paths) == {"LICENSE": 1, "content": 15, "style": 191}
    sizes = Counter(path.split("/")[1] for path in paths if path.startswith("style/"))
    assert len(sizes) == 25
    assert (sizes["Embroidery"], sizes["Print"], sizes["Monet"], sizes["VanGogh"]) == (4, 4, 16, 17)
    assert Counter(path.split("/")[0] for path in read_digests("styleid")) == {"content": 20, "style": 40}


def test_stylegallery_shares_out_contents_families_and_counts() -> None:
    items = items_of("stylegallery")
    sizes = Counter(path.split("/")[-2] for path in read_digests("stylegallery") if "/" in path)
    assert set(Counter((item.content, families(item)[0]) for item in items).values()) == {2}
    assert len({(item.content, frozenset(item.references)) for item in items}) == 750
    for item in items:
        (family,) = set(families(item))
        assert len(set(item.references)) == len(item.references) in {min(k, sizes[family]) for k in (1, 2, 3, 5)}
        assert item.id.split("__")[:3] == [item.content.stem, family, str(len(item.references))]
    counts = Counter(len(item.references) for item in items)
    assert counts == {1: 179, 2: 178, 3: 202, 4: 14, 5: 177}


def test_mixed_references_are_of_different_families() -> None:
    items = items_of("mixed")
    assert all(len(set(families(item))) == len(item.references) for item in items)
    assert Counter(len(item.references) for item in items) == {2: 268, 3: 238, 5: 244}
    assert set(Counter((item.content, families(item)[0]) for item in items).values()) == {2}
    assert len({(item.content, frozenset(item.references)) for item in items}) == 750


@pytest.mark.parametrize(("name", "each"), [("stylegallery60", {1: 15, 2: 15, 3: 15, 5: 15}),
                                            ("mixed60", {2: 20, 3: 20, 5: 20})])  # fmt: skip
def test_subset_is_stratified(name: str, each: dict[int, int]) -> None:
    items = items_of(name)
    whole = items_of(name.removesuffix("60"))
    assert [item for item in whole if item in items] == items
    assert Counter(len(item.references) for item in items) == each
    assert set(Counter(item.content for item in items).values()) == {4}
    used = Counter(families(item)[0] for item in items)
    assert len(used) == 25
    assert set(used.values()) == {2, 3}


def test_styleid_is_every_pair() -> None:
    items = items_of("styleid")
    assert len({(item.content, item.references) for item in items}) == 800
    assert {item.content.name for item in items} == {f"{number:02}.png" for number in range(20)}
    assert {item.references[0].name for item in items} == {f"{number:02}.png" for number in range(40)}
