"""The shape of the house: which package may import which, no circles, and what the digests of methods depend on."""

import ast
import re
import shutil
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

from stylegallery import provenance
from stylegallery.provenance import imports, modules_named, parsed, reachable, sources_digest

# Each package imports itself and these; docs of the project call them arrows, and none of them points upwards.
MAY_IMPORT = {
    "stylegallery": set(),
    "baselines": {"stylegallery"},
    "data": {"stylegallery"},
    "harness": {"data", "stylegallery"},
    "evaluation": {"harness", "data", "stylegallery"},
    "run": {"harness", "stylegallery"},
}
STAGES = ("pipeline", "segmentation", "matching", "guidance")
VARIANT = "baselines.global_style"  # of StyleGallery: the one baseline that stands on its stages


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    module_name(path): path
    for top in MAY_IMPORT
    for path in ([ROOT / "run.py"] if top == "run" else sorted((ROOT / top).rglob("*.py")))
}


def imported_by(name: str) -> Iterator[str]:
    """Modules of this repository that a module imports, in functions too, or names in a text to import them later."""
    for dotted in (*imports(SOURCES[name]), *modules_named(SOURCES[name])):
        parts = dotted.split(".")
        found = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        known = next((module for module in found if module in SOURCES), None)
        if known and known != name:
            yield known


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_between_packages_point_one_way(package: str) -> None:
    own = [name for name in SOURCES if name.split(".")[0] == package]
    assert own
    upwards = {
        f"{name} imports {other}"
        for name in own
        for other in imported_by(name)
        if other.split(".")[0] not in {package, *MAY_IMPORT[package]}
    }
    assert upwards == set()


def test_imports_are_absolute() -> None:
    """The arrows here and the digests of methods follow absolute names alone."""
    relative = {
        name
        for name, path in SOURCES.items()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert relative == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        list(TopologicalSorter({name: set(imported_by(name)) for name in SOURCES}).static_order())
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")


def test_the_contract_stands_on_errors_alone() -> None:
    assert set(imported_by("stylegallery.contract")) == {"stylegallery.errors"}


def all_imported_by(name: str) -> set[str]:
    """Modules of this repository that a module imports, directly or by way of others."""
    found, waiting = set(), [name]
    while waiting:
        for other in imported_by(waiting.pop()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("baselines.") and name != VARIANT])
def test_baselines_stand_on_no_stage_of_stylegallery(name: str) -> None:
    stages = {f"stylegallery.{stage}" for stage in STAGES}
    assert not {other for other in all_imported_by(name) if other in stages or other.startswith("stylegallery.extras")}


def test_methods_reach_a_diffusion_model_through_its_door_only() -> None:
    """Its parts are known in stylegallery/models, and in the embedded model's training, which makes one."""
    parts = re.compile(r"\bmodel\.(unet|inversion_unet|autoencoder|vae|scheduler|sampler|null_prompt)\b")
    inside = ("stylegallery.models.", "stylegallery.embedded.")
    assert not [name for name in SOURCES if not name.startswith(inside) and parts.search(SOURCES[name].read_text())]


def test_the_blocks_of_a_unet_are_named_in_its_own_file_alone() -> None:
    blocks = re.compile(r"\b(up_blocks|down_blocks|mid_block|attn1|BasicTransformerBlock|CrossAttn\w*Block2D)\b")
    found = {name for name in SOURCES if blocks.search(SOURCES[name].read_text())}
    assert found == {
        "stylegallery.models.unet",
        "baselines.instantstyle",  # of a pipeline that it builds itself
    }


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "method", ["baselines.identity.Identity", "baselines.color_transfer.ColorTransfer", "baselines.gatys.Gatys"]
)
@pytest.mark.slow
def test_an_edit_of_a_stage_leaves_other_methods_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, stage: str
) -> None:
    for name in ("stylegallery", "baselines", "data"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    targets = frozenset({method}), frozenset({"stylegallery.pipeline.StyleGallery"})
    assert method.rpartition(".")[0].replace(".", "/") + ".py" in {
        path.relative_to(tmp_path).as_posix() for path in reachable(targets[0])
    }
    digests = []
    for _ in range(2):
        sources_digest.cache_clear()
        digests.append([sources_digest(target) for target in targets])
        with (tmp_path / "stylegallery" / f"{stage}.py").open("a") as file:
            file.write("# another comment\n")
    sources_digest.cache_clear()
    assert digests[0][0] == digests[1][0]
    assert digests[0][1] != digests[1][1]


def test_nothing_stands_on_the_studio() -> None:
    inside = "stylegallery.studio"
    others = [name for name in SOURCES if not name.startswith(inside)]
    assert not [name for name in others if any(other.startswith(inside) for other in imported_by(name))]
