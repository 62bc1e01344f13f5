"""The store of analyses: a picture is analysed once, no result depends on it, and nothing in it is believed."""

import copy
import json
import os
import shutil
import subprocess
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pictures, RunCli, paint, paint_gallery
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from rich.console import Console
from torch import Tensor

from evaluation.annotations import annotate_with_stylegallery
from harness.building import build
from stylegallery import analysis
from stylegallery import store as module
from stylegallery.analysis import Analyser, Analysis, Input
from stylegallery.contract import Item
from stylegallery.draws import item_generator
from stylegallery.errors import InputError
from stylegallery.files import notice
from stylegallery.matching import RegionDescriptors
from stylegallery.pipeline import StyleGallery
from stylegallery.store import SPARE, AnalysisStore, Entries

Settings = dict[str, Any]
Composed = Callable[..., DictConfig]
FORMS = {"values": "float n n", "names": "int64 n"}


def settings_of(composed: Composed, *overrides: str) -> Settings:
    found: Any = OmegaConf.to_container(composed(*overrides).method, resolve=True)
    return found


@pytest.fixture
def analyser(built: object, composed: Composed, tmp_path: Path) -> Analyser:
    """The small model's, with a store of its own."""
    assert isinstance(built, StyleGallery)
    return replace(built.analyser, store=AnalysisStore(settings_of(composed), str(tmp_path / "store"), 1.0))


def analysed(analyser: Analyser, picture: Path, mask: Path | None = None, seed: int = 0) -> Analysis:
    (found,) = analyser([(picture, mask)], seed)
    return found


def tensors_of(known: Analysis) -> list[np.ndarray]:
    parts, described = known.segmentation, known.descriptors
    found = (known.image, parts.labels, parts.latent, parts.inverted, described.statistics, described.semantics)
    return [*(tensor.numpy() for tensor in found), described.circles]


def same(first: Analysis, second: Analysis) -> bool:
    pairs = zip(tensors_of(first), tensors_of(second), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


# --- what is kept of a picture ---


@pytest.mark.slow
def test_a_picture_is_analysed_once(
    analyser: Analyser, pictures: Pictures, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit as without a store; the second time no network runs."""
    plain = [analysed(replace(analyser, store=None), picture) for picture in pictures]
    assert len(passes) == 6
    cold = [analysed(analyser, picture) for picture in pictures]
    assert len(passes) == 12
    monkeypatch.setattr(analyser.encoder, "forward", None)
    warm = [analysed(analyser, picture) for picture in pictures]
    assert len(passes) == 12
    assert all(map(same, plain, cold)) and all(map(same, plain, warm))


def test_other_seeds_masks_and_settings_share_an_inversion(
    analyser: Analyser, composed: Composed, pictures: Pictures, passes: list[int], tmp_path: Path
) -> None:
    Image.fromarray(np.eye(64, dtype=np.uint8)).save(tmp_path / "mask.png")
    first = analysed(analyser, pictures.first)
    other = other_settings(analyser, composed, "method.segmentation.clusters=[4,4]")
    others = [
        analysed(analyser, pictures.first, seed=1),
        analysed(analyser, pictures.first, tmp_path / "mask.png"),
        analysed(replace(other, segmentation=replace(analyser.segmentation, clusters=(4, 4))), pictures.first),
    ]
    assert len(passes) == 2
    assert not any(torch.equal(first.labels, other.labels) for other in others)
    assert all(torch.equal(first.segmentation.inverted, other.segmentation.inverted) for other in others)


@pytest.mark.slow
def test_a_variant_of_the_method_shares_inversions(
    analyser: Analyser, composed: Composed, pictures: Pictures, passes: list[int], tmp_path: Path
) -> None:
    """Global style inverts its content alone, as the method does."""
    analysed(analyser, pictures.content)
    node = {"_target_": "stylegallery.store.AnalysisStore", "_partial_": True, "limit": 1.0}
    variant = build(composed("method=global_style").method, store=node | {"folder": str(tmp_path / "store")})
    item = Item("a", pictures.content, (pictures.first,))
    found = variant.plan(item, item_generator(0, item)).content.segmentation
    assert len(passes) == 2
    variant.analyser = replace(variant.analyser, store=None)
    assert torch.equal(found.inverted, variant.plan(item, item_generator(0, item)).content.segmentation.inverted)
    assert len(passes) == 4


def other_settings(analyser: Analyser, composed: Composed, *overrides: str) -> Analyser:
    assert analyser.store
    place = str(analyser.store.analyses.folder.parent)
    return replace(analyser, store=AnalysisStore(settings_of(composed, *overrides), place, 1.0))


@pytest.mark.parametrize(
    ("override", "inversion", "analyses"),
    [
        ("method.matching.semantics=0", True, True),
        ("method.matching.assignment=random", True, True),
        ("method.guidance.steps=3", True, True),
        ("output_size=content", True, True),
        ("method.matching.circle=centroid", True, False),
        ("method.segmentation.restarts=2", True, False),
        ("encoder.block=10", True, False),
        ("method.resolution=72", True, False),
        ("method.resizing=square", True, False),
        ("method.segmentation.inversion_steps=3", False, False),
        ("method.segmentation.inversion_batch=2", False, False),
        ("model.dtype=bfloat16", False, False),
    ],
)
def test_entries_are_of_what_decides_them(composed: Composed, override: str, inversion: bool, analyses: bool) -> None:
    image = torch.zeros(1, 3, 8, 8)
    before, after = (AnalysisStore(settings_of(composed, *given), None, 1.0) for given in ([], [override]))
    assert (before.inversion_key(image) == after.inversion_key(image)) == inversion
    assert (before.analysis_key("picture", "", 0) == after.analysis_key("picture", "", 0)) == analyses


def test_entries_are_of_the_libraries_that_read_pictures(composed: Composed, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for newer in ("", "pillow", "opencv-python-headless", "scipy"):
        monkeypatch.setattr(module, "version", lambda name, newer=newer: f"{name == newer}")
        store = AnalysisStore(settings_of(composed), None, 1.0)
        keys |= {store.inversion_key(torch.zeros(1, 3, 8, 8)), store.analysis_key("picture", "", 0)}
    assert len(keys) == 8


def test_entries_are_of_one_picture_mask_and_seed(composed: Composed) -> None:
    store, image = AnalysisStore(settings_of(composed), None, 1.0), torch.zeros(1, 3, 8, 8)
    nudged = image.clone()
    nudged[0, 2, 7, 7] = 1e-38
    assert len({store.inversion_key(one) for one in (image, nudged, image.view(1, 3, 4, 16))}) == 3
    given = [("a", "", 0), ("b", "", 0), ("a", "b", 0), ("", "a", 0), ("a", "", 1), ("ab", "", 0), ("a", "", 10)]
    assert len({store.analysis_key(*one) for one in given}) == len(given)


@pytest.mark.parametrize(("place", "inversion"), [("matching", True), ("inversion", False), ("models/unet", False)])
@pytest.mark.slow
def test_entries_are_of_the_sources(
    composed: Composed, place: str, inversion: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylegallery import provenance

    weights = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(provenance.ROOT / "stylegallery", tmp_path / "stylegallery", ignore=weights)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    keys = []
    for _ in range(2):
        provenance.sources_digest.cache_clear()
        store, image = AnalysisStore(settings_of(composed), None, 1.0), torch.zeros(1, 3, 8, 8)
        keys.append((store.inversion_key(image), store.analysis_key("picture", "", 0)))
        with (tmp_path / "stylegallery" / f"{place}.py").open("a") as file:
            file.write("# another comment\n")
    provenance.sources_digest.cache_clear()
    assert (keys[0][0] == keys[1][0]) == inversion and keys[0][1] != keys[1][1]


def test_what_is_not_matched_is_not_in_memory(
    analyser: Analyser, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a kept picture the descriptors are read; the rest when it is asked for."""
    first = analysed(analyser, pictures.first)
    asked: list[str] = []
    whole = Entries.get
    monkeypatch.setattr(Entries, "get", lambda self, key, forms: asked.extend(forms) or whole(self, key, forms))
    kept = analysed(analyser, pictures.first)
    assert asked == []
    assert np.array_equal(kept.descriptors.circles, first.descriptors.circles)
    assert asked == ["statistics", "semantics", "circles"]
    assert torch.equal(kept.segmentation.latent, first.segmentation.latent)
    assert asked[3:] == ["labels", "latent", "inverted"]
    calls = (kept.get_descriptors, kept.get_image, kept.get_segmentation)
    held = [cell.cell_contents for call in calls for cell in call.__closure__ or ()]
    assert not any(isinstance(value, Tensor | RegionDescriptors) for value in held)


def test_a_kept_picture_is_found_without_being_decoded(
    analyser: Analyser, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under any name."""
    analysed(analyser, pictures.first)
    monkeypatch.setattr(analysis, "read_image", pytest.fail)
    found = analysed(analyser, Path(shutil.copy(pictures.first, tmp_path / "moved.png")))
    assert len(found.descriptors.circles) == len(found.segmentation.labels.unique())


def test_what_is_asked_for_again_is_remembered(
    analyser: Analyser, pictures: Pictures, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed(analyser, pictures.first)
    kept = analysed(analyser, pictures.first)
    first = kept.image, kept.segmentation, kept.labels
    monkeypatch.setattr(analysis, "read_image", pytest.fail)
    monkeypatch.setattr(Entries, "get", pytest.fail)
    assert first[0] is kept.image and first[1] is kept.segmentation and first[2] is kept.labels


def test_what_is_gone_is_computed_once(
    analyser: Analyser, pictures: Pictures, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be written again either."""
    expected = analysed(analyser, pictures.first)
    kept = analysed(analyser, pictures.first)
    assert analyser.store
    shutil.rmtree(analyser.store.analyses.folder.parent)
    monkeypatch.setattr(Entries, "put", lambda *_: None)
    del passes[:]
    assert same(kept, expected) and same(kept, expected)
    assert len(passes) == 2


@pytest.mark.slow
def test_of_many_new_pictures_few_stay_in_memory(
    analyser: Analyser, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[weakref.ref[Tensor]] = []
    most, whole = 0, Analyser.read

    def watched(self: Analyser, *given: Any) -> Input:
        nonlocal most
        found = whole(self, *given)
        read.append(weakref.ref(found.image))
        most = max(most, sum(one() is not None for one in read))
        return found

    monkeypatch.setattr(analysis, "HELD", 2)
    monkeypatch.setattr(Analyser, "read", watched)
    paths = [paint(pictures.first.with_name(f"new{number}.png"), number) for number in range(8)]
    found = analyser([(path, None) for path in paths], 0)
    assert most <= 4
    plain = [analysed(replace(analyser, store=None), path) for path in paths]
    assert all(map(same, found, plain))


def test_what_is_computed_again_holds_no_picture(
    analyser: Analyser, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of thousands whose entries made room for others."""
    analysed(analyser, pictures.first)
    kept, read, whole = analysed(analyser, pictures.first), list[weakref.ref[Tensor]](), Analyser.read
    assert analyser.store
    shutil.rmtree(analyser.store.analyses.folder)

    def watched(self: Analyser, *given: Any) -> Input:
        found = whole(self, *given)
        read.append(weakref.ref(found.image))
        return found

    monkeypatch.setattr(Analyser, "read", watched)
    assert len(kept.descriptors.circles) and read
    assert [one() for one in read] == [None]


def test_what_goes_while_it_is_used_is_computed_again(
    analyser: Analyser, pictures: Pictures, passes: list[int]
) -> None:
    analysed(analyser, pictures.first)
    kept, expected = analysed(analyser, pictures.first), analysed(replace(analyser, store=None), pictures.first)
    assert analyser.store
    shutil.rmtree(analyser.store.analyses.folder.parent)
    assert same(kept, expected)


def test_a_picture_that_changes_while_it_is_used(analyser: Analyser, pictures: Pictures) -> None:
    analysed(analyser, pictures.first)
    kept = analysed(analyser, pictures.first)
    shutil.copy(pictures.content, pictures.first)
    with pytest.raises(InputError, match=r"first\.png changed while it was used; run again"):
        _ = kept.image


# --- several pictures in one pass ---


def test_pictures_of_one_shape_are_inverted_together(built: object, pictures: Pictures, passes: list[int]) -> None:
    """As batched references are: equal up to rounding, and as many calls as one picture needs."""
    assert isinstance(built, StyleGallery)
    paths = [pictures.first, pictures.content, pictures.second]
    single = replace(built.analyser, resizing="square")
    alone = [analysed(single, path) for path in paths]
    assert passes == [1] * 6
    batched = replace(single, segmentation=replace(built.segmentation, inversion_batch=3))
    together = batched([(path, None) for path in paths], 0)
    assert passes[6:] == [3] * 2
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.segmentation.inverted, other.segmentation.inverted, rtol=1e-4, atol=1e-4)
        assert torch.equal(one.segmentation.latent, other.segmentation.latent)


# --- entries ---


def entries(folder: Path, limit: float = 1e6) -> Entries:
    return Entries(folder, limit)


def values(seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"values": torch.rand(3, 3, generator=draw), "names": torch.arange(3)}


def test_an_entry_is_for_whoever_the_umask_lets_read(tmp_path: Path) -> None:
    """Else several users of one store would each analyse what another one has."""
    before = os.umask(0o022)
    try:
        kept = entries(tmp_path)
        kept.put("a", values(0))
    finally:
        os.umask(before)
    assert kept.path("a").stat().st_mode & 0o777 == 0o644


def test_an_entry_is_what_was_put(tmp_path: Path) -> None:
    kept, put = entries(tmp_path / "new" / "folder"), values(0)
    assert kept.get("a", FORMS) is None
    kept.put("a", put | {"values": put["values"].T})
    kept.put("a", put)
    found = kept.get("a", FORMS)
    assert found and all(torch.equal(found[name], put[name]) and found[name].dtype == put[name].dtype for name in put)
    assert [path.name for path in kept.folder.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other", "renamed", "folder", "pipe", "text"])
def test_a_damaged_entry_is_none_and_is_replaced(tmp_path: Path, damage: str) -> None:
    kept = entries(tmp_path)
    kept.put("a", values(0))
    kept.put("b", values(1))
    path = kept.path("a")
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    else:
        other = kept.path("b").read_bytes()
        path.write_bytes(
            {"cut": data[:-1], "bit": data[:-1] + bytes([data[-1] ^ 1]), "empty": b"", "text": b"hello " * 50}.get(
                damage, other
            )
        )
    assert kept.get("a", FORMS) is None
    if damage != "folder":
        kept.put("a", values(0))
        found = kept.get("a", FORMS)
        assert found and torch.equal(found["values"], values(0)["values"])


@pytest.mark.parametrize("form", ["int64 n n", "float n", "float n m o", "float 1 n"])
def test_an_entry_of_another_form_is_none(tmp_path: Path, form: str) -> None:
    kept = entries(tmp_path)
    kept.put("a", values(0))
    assert kept.get("a", {"values": "float n n"}) and not kept.get("a", {"values": form})
    assert not kept.get("a", {"values": "float n n", "others": "float n"})


def test_an_entry_of_nothing_is_none(tmp_path: Path) -> None:
    kept = entries(tmp_path)
    kept.put("a", {"values": torch.zeros(0, 3)})
    assert kept.get("a", {"values": "float n m"}) is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    """A look counts as a use; what a killed process left goes as well, and nothing of anybody else."""
    size = len(entries(tmp_path / "a").put("a", values(0)) or (tmp_path / "a" / "a.safetensors").read_bytes())
    kept = entries(tmp_path, 3.5 * size)
    (tmp_path / "mine.txt").write_bytes(bytes(10 * size))
    (tmp_path / ".a-killed.tmp").write_bytes(bytes(size))
    os.utime(tmp_path / ".a-killed.tmp", (1, 1))
    for moment, key in enumerate("abc", 2):
        kept.put(key, values(0))
        os.utime(kept.path(key), (moment, moment))
    assert kept.get("a", FORMS)
    kept.put("d", values(0))
    assert {path.name[:1] for path in tmp_path.glob("*.safetensors")} == set("acd")
    assert (tmp_path / "mine.txt").exists() and not (tmp_path / ".a-killed.tmp").exists()
    sizes = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert sizes <= kept.limit
    kept.put("e", {"values": torch.zeros(10 * size)})
    assert not kept.path("e").exists() and kept.path("d").exists()


def test_another_process_may_remove_entries_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = entries(tmp_path)
    for key in "ab":
        kept.put(key, values(0))
    kept = entries(tmp_path, 3.2 * kept.path("a").stat().st_size)
    seen = list(kept.files())
    monkeypatch.setattr(kept, "files", lambda: [*seen, (tmp_path / "gone.safetensors", seen[0][1])])
    seen[0][0].unlink()
    kept.put("c", values(0))
    assert kept.get("c", FORMS)


def test_a_store_that_cannot_be_written_is_told_once(
    analyser: Analyser, pictures: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notice.cache_clear()
    (tmp_path / "store").write_text("a file")
    found = [analysed(analyser, pictures.first) for _ in range(2)]
    assert same(*found)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and all("cannot be written (Not a directory), so that pictures" in line for line in told)


def test_a_full_disk_is_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notice.cache_clear()
    kept = entries(tmp_path)
    kept.put("a", values(0))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=SPARE - 10**6))
    kept.room = 0
    kept.put("b", values(1))
    assert kept.get("a", FORMS) and not kept.has("b")  # nothing goes where that would not make room
    assert "cannot be written (the disk is nearly full), so that pictures are analysed again" in caplog.text


def test_two_processes_do_not_compute_the_same(
    analyser: Analyser, pictures: Pictures, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for the other, as threads with locks of their own do, and takes what it found."""
    twin, whole = replace(analyser, store=copy.deepcopy(analyser.store)), analysis.describe
    described: list[object] = []
    monkeypatch.setattr(analysis, "describe", lambda *given: described.append(given) or whole(*given))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda one: analysed(one, pictures.first), (analyser, twin))
    assert len(passes) == 2 and len(described) == 1 and same(first, second)
    assert analyser.store
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    key = analyser.store.inversion_key(twin.read(pictures.second).image)
    with analyser.store.inversions.turn([key]):
        analysed(twin, pictures.second)
    assert len(passes) == 4


# --- settings ---


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("store.limit=-1", r"^store\.limit is -1; it should be greater than 0"),
        ("store.limit=large", r"^store\.limit is 'large'; it should be a valid number"),
        ("store.folder=3", r"^store\.folder is 3; it should be a valid string"),
        ("store=/tmp/x", r"^store is /tmp/x; pass store\.folder= or store\.limit=, or store=null"),
    ],
)
def test_settings_of_a_store_that_cannot_be(override: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        StyleGallery.from_config(override)


def test_where_a_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a setting or STYLEGALLERY_STORE says, else in the user's cache, and nowhere with store=null."""
    from hydra import compose, initialize_config_dir

    from stylegallery.overrides import CONFIGS, store_settings

    def found(*overrides: str) -> str | None:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            settings = store_settings(compose("config", overrides=list(overrides)))
        if settings is None:
            return None
        return str(AnalysisStore({}, settings["folder"], settings["limit"]).analyses.folder)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLEGALLERY_STORE", "/env")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/home/me")
    assert found("store=null") is None
    assert found("store.folder=mine") == str(tmp_path / "mine" / "analyses")
    assert found() == "/env/analyses"
    monkeypatch.delenv("STYLEGALLERY_STORE")
    assert found() == "/xdg/stylegallery/store/analyses"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert found() == "/home/me/.cache/stylegallery/store/analyses"
    monkeypatch.setattr(Path, "home", lambda: Path("~").expanduser())
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as of a user without a home
    assert found() is None


# --- runs ---

ABLATION = ("experiment=ablation_matching", "only=[stylegallery,'stylegallery@semantics=0','stylegallery@random-0']")


def results(out: Path) -> dict[str, bytes]:
    """All that a run leaves and that does not tell what it cost: pixels, region maps, matches, energies."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.name == "stylised.png":  # its metadata name the digest of the settings
            with Image.open(path) as image:
                found[str(path.relative_to(out))] = image.tobytes()
        elif path.suffix in (".png", ".csv") or path.name == "matches.json":
            found[str(path.relative_to(out))] = path.read_bytes()
    return found


@pytest.fixture
def keeping(tmp_path: Path) -> str:
    return f"store={{_target_:stylegallery.store.AnalysisStore,_partial_:true,folder:{tmp_path / 'kept'},limit:1}}"


@pytest.mark.slow
def test_results_are_the_same_without_a_store_and_with_a_cold_and_a_warm_one(
    run_script: RunCli, keeping: str, pictures: Pictures, passes: list[int], tmp_path: Path
) -> None:
    done = []
    for name, given in (("off", "store=null"), ("cold", keeping), ("warm", keeping)):
        process = run_script(*pictures.overrides(), "output_size=content", given, f"out={tmp_path / name}")
        assert process.returncode == 0, process.stderr
        done.append(len(passes))
    assert done == [6, 12, 12]
    off, cold, warm = (results(tmp_path / name) for name in ("off", "cold", "warm"))
    assert {Path(name).name for name in off} >= {"stylised.png", "energies.csv", "matches.json"}
    assert off == cold == warm
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("off", "warm")]
    assert records[0]["digest"] == records[1]["digest"]
    assert records[0]["config"] == records[1]["config"]
    assert records[1]["seconds"]["segmentation"] < records[0]["seconds"]["segmentation"]


@pytest.mark.slow
def test_a_sweep_inverts_every_picture_once(
    run_script: RunCli, keeping: str, passes: list[int], tmp_path: Path, blank_figures: None
) -> None:
    """Whatever the number of items and methods; annotations find there all that they ask for."""
    gallery = paint_gallery(tmp_path / "gallery", contents=2)
    pictures = len([*gallery.contents.iterdir(), *gallery.references.glob("*/*")])
    for name, given in (("with", keeping), ("without", "store=null")):
        process = run_script(*ABLATION, *gallery.overrides(), given, f"out={tmp_path / name}")
        assert process.returncode == 0, process.stderr
        assert len(passes) == 2 * (pictures if name == "with" else pictures + 3 * 2 * (3 + 6))
    assert results(tmp_path / "with") == results(tmp_path / "without") != {}
    passes.clear()
    assert (
        annotate_with_stylegallery(tmp_path / "with", [f"store.folder={tmp_path / 'kept'}"], Console(quiet=True)) == 0
    )
    assert passes == []


@pytest.mark.slow
def test_two_processes_share_a_store(
    command: list[str], environment: dict[str, str], run_script: RunCli, keeping: str, tmp_path: Path
) -> None:
    gallery = paint_gallery(tmp_path / "gallery", contents=1)
    both = [
        subprocess.Popen(
            [*command, *gallery.overrides(), keeping, f"shard={shard}/2", f"out={tmp_path / 'both'}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for shard in (0, 1)
    ]
    assert run_script(*gallery.overrides(), f"out={tmp_path / 'alone'}").returncode == 0
    for process in both:
        printed = process.communicate(timeout=300)[0]
        assert process.returncode == 0, printed
    assert results(tmp_path / "both") == results(tmp_path / "alone") != {}
    kept = tmp_path / "kept"
    pictures = len([*gallery.contents.iterdir(), *gallery.references.glob("*/*")])
    assert all(len([*(kept / name).glob("*.safetensors")]) == pictures for name in ("inversions", "analyses"))
    assert not list(kept.rglob("*.tmp"))
