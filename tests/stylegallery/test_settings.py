"""Values that no setting can have, thrown at every setting of every config; and what their classes accept."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import ROOT, compose_config, configured
from omegaconf import OmegaConf

from baselines.identity import Identity
from harness.building import build
from harness.frozen import settings_of
from stylegallery.contract import Stylization
from stylegallery.errors import InputError
from stylegallery.guidance import GuidanceConfig
from stylegallery.provenance import imports
from stylegallery.segmentation import SegmentationConfig
from stylegallery.settings import (
    Count,
    GuidanceScale,
    NotNegative,
    Number,
    Positive,
    PositiveShare,
    Resolution,
    Share,
    Steps,
    Timestep,
    check,
    check_values,
    located,
    parameters_of,
)

# Where any text will do: names of files and models are looked for later, prompts say what they want.
FREE_TEXT = {
    "path", "base", "lora", "controlnet", "adapter", "weights", "image_encoder", "captions", "prompt",
    "negative_prompt", "pattern", "device", "project", "entity", "address",
}  # fmt: skip
FRACTIONS = {"num_gpus", "num_cpus"}
MAPPINGS = {"scale"}  # of the blocks of an IP-Adapter
NULLABLE = {"lora", "captions", "final_learning_rate", "entity", "address", "depth", "segmenter"}
ANY_NUMBER = {"shift"}
WRONG: dict[type, tuple[Any, ...]] = {
    int: ("12", [1], True, 0.5, 1.0, -1, 10**30, "", None),
    float: ("0.5", [1.0], True, -1, -0.5, 1e30, 10**30, math.inf, "", None),
    bool: ("yes", 1, 0, [], 0.0, "", None),
    str: (1, 0.5, True, ["a"], None),
    list: ("a", 1, True, ["a"], [True], [0.5], None),
    type(None): (True, ["a"]),
}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def node_of(group: str, option: str) -> dict[str, Any]:
    """The node of a config that the option belongs to, resolved."""
    if group == "method":
        config = compose_config(option)
    elif group == "condition":
        config = compose_config("ip_adapter", f"condition@method.condition={option}")
    else:
        config = compose_config("stylegallery", f"{group}={option}")
    node = config[group] if group in ("launcher", "tracker") else config.method
    return OmegaConf.to_container(node, resolve=True) if node is not None else {}  # type: ignore[return-value]


def leaves(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of every setting of a node and of the nodes inside it."""
    for key, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            yield from leaves(value, (*path, key))
        elif not key.startswith("_") and not isinstance(value, dict):
            yield (*path, key), value


def wrong_values(name: str, value: object, option: str) -> list[Any]:
    kind = float if name in FRACTIONS else type(value)
    values = [math.nan, *WRONG[kind]]
    if name not in MAPPINGS:
        values.append({"a": 1})
    if name in NULLABLE or (name, option) == ("layers", "styleid"):
        values = [wrong for wrong in values if wrong is not None]
    if name in ANY_NUMBER:
        values = [wrong for wrong in values if isinstance(wrong, str | list | bool) or wrong is math.nan]
    if kind is str and name not in FREE_TEXT:
        values.append("no such")
    return values


@pytest.mark.slow
@pytest.mark.parametrize(
    "group", ["method", "condition", "encoder", "depth", "segmenter", "model", "launcher", "tracker"]
)
def test_no_setting_takes_what_it_cannot_be(group: str) -> None:
    """Wrong types and numbers out of range: one sentence that begins with the setting, before anything is loaded."""
    taken, seen = [], set()
    for option in options(group):
        node = node_of(group, option)
        if node:
            check(node, group)  # as it is
        for path, value in leaves(node):
            owner = node
            for key in path[:-1]:
                owner = owner[key]
            place = (owner["_target_"], path[-1])
            accepted = {path[-1]: parameters_of(located(owner["_target_"], group))[path[-1]]}
            for wrong in wrong_values(path[-1], value, option) if place not in seen else ():
                try:
                    check_values({path[-1]: wrong}, accepted, "here")
                except InputError as error:
                    assert str(error).startswith(f"here.{path[-1]} is {wrong!r}; "), error
                    assert "\n" not in str(error)
                else:
                    taken.append(f"{option}: {'.'.join(path)}={wrong!r}")
            seen.add(place)
    assert seen
    assert taken == []


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (Count, (1, 10_000), (0, 10_001)),
        (Number, (0, 10_000), (-1, 10_001)),
        (Steps, (1, 999), (0, 1000)),
        (Timestep, (0, 999), (-1, 1000)),
        (Resolution, (16, 8192), (15, 8193)),
        (Share, (0.0, 1.0), (-0.01, 1.01)),
        (PositiveShare, (0.01, 1.0), (0.0, 1.01)),
        (NotNegative, (0.0, 1e6), (-0.01, 1.01e6)),
        (Positive, (0.01, 1e6), (0.0, 1.01e6)),
        (GuidanceScale, (1.01, 1e3), (1.0, 1.01e3)),
    ],
)
def test_ends_of_ranges(kind: Any, inside: tuple[float, float], outside: tuple[float, float]) -> None:
    for value in inside:
        check_values({"x": value}, {"x": kind})
    for value in outside:
        with pytest.raises(InputError, match=f"^x is {re.escape(repr(value))}; it should be (greater|less) than "):
            check_values({"x": value}, {"x": kind})


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["method.guidance.learning_rate=-1"], "method.guidance.learning_rate is -1; it should be greater than 0"),
        (["+method.guidance.learnin_rate=1"], "method.guidance.learnin_rate is not a setting of .*; it has learning_r"),
        (["method.model=sd15"], "method.model is 'sd15'; it should be an instance of DiffusionModel"),
        (["method.encoder=3"], "method.encoder is 3; it should be callable"),
        (["method._target_=baselines.nobody.Nobody"], "method names baselines.nobody.Nobody, which does not exist"),
        (["resolution=50000"], "method.resolution is 50000; it should be less than or equal to 8192"),
    ],
)
def test_build_refuses(overrides: list[str], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        build(compose_config("stylegallery", *overrides).method)


def test_classes_refuse_without_a_config() -> None:
    with pytest.raises(InputError, match=r"^Identity\.resolution is '64'; it should be a valid integer$"):
        Identity("64", "square")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^Identity\.resizing is 'crop'; it should be 'square' or 'keep'$"):
        Identity(64, resizing="crop")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^guidance\.learning_rate is -1; it should be greater than 0$"):
        configured(GuidanceConfig, learning_rate=-1)
    assert configured(SegmentationConfig, clusters=[3, 3]).clusters == [3, 3]  # as a config gives it


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "import nothing_of_this_name\n",
            r"ModuleNotFoundError at .*unfit\.py:1: No module named 'nothing_of_this_name'",
        ),
        ("\nfrom math import no_such\n", r"ImportError at .*unfit\.py:2: cannot import name 'no_such'"),
        ("def f(:\n", r"SyntaxError at .*unfit\.py:1: invalid syntax"),
        ("import circle\n", r"ImportError at .*circle\.py:1: cannot import name 'Mine' from partially init"),
        ("raise SystemExit(3)\n", r"SystemExit at .*unfit\.py:1: 3"),
    ],
)
def test_a_method_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str
) -> None:
    (tmp_path / "unfit.py").write_text(source)
    (tmp_path / "circle.py").write_text("from unfit import Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=f"^method cannot be imported \\(unfit\\.Mine: {says}"):
        build({"_target_": "unfit.Mine"})


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("", "method has no _target_; write the class there, such as "),
        ("3", "method names 3, which does not exist; "),
        ("baselines.identity", "method names baselines.identity, which does not exist; "),
        (
            "test_settings.Unannotated",
            "the signature of test_settings.Unannotated cannot be read .*'Missing' is not de",
        ),
        ("test_settings.Silent", "test_settings.Silent is no method .*'Silent' object has no attribute 'stylize'"),
        ("test_settings.Narrow", "test_settings.Narrow is no method .too many positional arguments"),
        ("test_settings.Wide", "test_settings.Wide is no method .missing a required argument: 'progress'"),
    ],
)
def test_a_class_that_is_no_method(target: str, says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        build({"_target_": target})


class Unannotated:
    def __init__(self, strength: "Missing" = 0.5) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass


class Silent:
    pass


class Narrow:
    def stylize(self, item: object) -> None:
        pass


class Wide:
    def stylize(self, item: object, generator: object, progress: object) -> None:
        pass


PICTURE = torch.full((1, 3, 8, 8), 0.5)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (PICTURE.numpy(), r"a method's image is a float32 tensor of shape \(1, 3, height, width\), not ndarray"),
        (PICTURE[0], r"a method's image is a float32 tensor .*, not torch.float32 \(3, 8, 8\)"),
        (PICTURE[:, :1], r"not torch.float32 \(1, 1, 8, 8\)"),
        (PICTURE.to(torch.uint8), r"not torch.uint8 \(1, 3, 8, 8\)"),
        (PICTURE * 400, "values of a method's image lie between 0 and 1, not between 200 and 200"),
        (PICTURE - 1, "values of a method's image lie between 0 and 1, not between -0.5 and -0.5"),
    ],
)
def test_a_result_that_is_no_picture(image: Any, says: str) -> None:
    Stylization(PICTURE * 2.0005, PICTURE, [PICTURE])
    with pytest.raises(InputError, match=says):
        Stylization(image, PICTURE, [PICTURE])
    with pytest.raises(InputError, match=says.replace("image", "content")):
        Stylization(PICTURE, image, [PICTURE])
    with pytest.raises(InputError, match=says.replace("image", "reference 2")):
        Stylization(PICTURE, PICTURE, [PICTURE, image])


def test_a_black_picture_is_not_written_for_want_of_numbers() -> None:
    with pytest.raises(FloatingPointError, match=r"^the method's image is not finite$"):
        Stylization(PICTURE * math.nan, PICTURE, [])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed=abc", "seed is 'abc'; it should be a valid integer"),
        ("seed=[1]", r"seed is \[1\]; it should be a valid integer"),
        ("seed=true", "seed is True; it should be a valid integer"),
        ("seed=-1", "seed is -1; it should be greater than or equal to 0"),
        ("seed=1.5", "seed is 1.5; it should be a valid integer"),
        (f"seed={2**63}", f"seed is {2**63}; it should be less than {2**63}"),
        ("seed=null", "seed is None; it should be a valid integer"),
        ("limit=true", "limit is True; it should be a valid integer"),
        ("limit=0", "limit is 0; it should be greater than or equal to 1"),
        ("limit={a:1}", r"limit is {'a': 1}; it should be a valid integer"),
        ("out=[a]", r"out is \['a'\]; it should be a valid string"),
        ("label=[a]", r"label is \['a'\]; it should be a valid string"),
        ("shard=2", "shard is 2; it should be a valid string"),
    ],
)
def test_settings_of_a_run(override: str, says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        settings_of(compose_config("identity", override))


def test_a_method_that_is_not_python_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(InputError, match=r"mine\.py:2 is not Python \(invalid syntax\); mend this line$"):
        list(imports(tmp_path / "mine.py"))
