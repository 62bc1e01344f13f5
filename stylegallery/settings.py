"""What settings may be: types with ranges, for the signatures of the classes that configs name, and their check."""

import difflib
import functools
import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from stylegallery.errors import InputError, first_line

MOST = 1_000_000


def some_seconds(value: object) -> object:
    """The value itself. Raises what pydantic reports where it is no number of seconds, such as 30, or text like 30s."""
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?s", value, re.ASCII):
        seconds = float(value[:-1])
    else:
        seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    if not 0 < seconds <= MOST:
        raise PydanticCustomError("seconds", f"it should be seconds above 0 and up to {MOST}, such as 30 or 30s")
    return value


Count = Annotated[int, Field(ge=1, le=10_000)]
Number = Annotated[int, Field(ge=0, le=10_000)]
Steps = Annotated[int, Field(ge=1, le=999)]  # schedules have 1000 timesteps
Timestep = Annotated[int, Field(ge=0, le=999)]
Resolution = Annotated[int, Field(ge=16, le=8192)]  # px; a picture of more has not been stylised on any machine
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
NotNegative = Annotated[float, Field(ge=0, le=MOST)]
Positive = Annotated[float, Field(gt=0, le=MOST)]
Seconds = Annotated[float | str, PlainValidator(some_seconds, json_schema_input_type=Positive | str)]  # 30 or 30s
GuidanceScale = Annotated[float, Field(gt=1, le=1e3)]  # where the negative prompt has a part; 1 is without guidance
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
NAMES_WEIGHTS = "names weights"
Weights = Annotated[str, NAMES_WEIGHTS]  # a file or folder that is read: what is in it decides results, not where it is

STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)  # 3.0, "3" and true are not 3
PLAIN = (bool, int, float, str, list, tuple, dict, type(None))


def check(node: Mapping[str, Any], name: str) -> None:
    """Hold every value of a config node, and of the nodes in it, against the signature of what the node names.

    Raises:
        InputError: a value is not of the type or range that its parameter has, no parameter has the name of a
            setting, or what the node names cannot be imported.
    """
    target = located(str(node.get("_target_") or ""), name)
    try:
        accepted = parameters_of(target)
    except (NameError, TypeError, ValueError) as error:  # of annotations, or of a function that is not Python's
        raise InputError(
            f"the signature of {node['_target_']} cannot be read ({first_line(error)}); mend its annotations, or name "
            "another class as _target_"
        ) from error
    values = {key: value for key, value in node.items() if not key.startswith("_")}
    for key in values:
        if key not in accepted:
            near = difflib.get_close_matches(key, accepted, n=1) or [", ".join(accepted)]
            raise InputError(f"{name}.{key} is not a setting of {node['_target_']}; it has {near[0]}")
    nodes = {key: value for key, value in values.items() if isinstance(value, Mapping) and "_target_" in value}
    for key, value in nodes.items():
        check(value, f"{name}.{key}")
    check_values({key: value for key, value in values.items() if key not in nodes}, accepted, name)


def check_values(values: Mapping[str, Any], accepted: Mapping[str, Any], name: str = "") -> None:
    """Raises InputError, naming the first value that is not of its accepted type or out of its range."""
    for key, value in values.items():
        try:
            TypeAdapter(accepted[key], config=STRICT).validate_python(value)
        except ValidationError as error:
            rules = dict.fromkeys(problem["msg"].replace("Input should", "it should") for problem in error.errors())
            raise InputError(f"{name}.{key}".lstrip(".") + f" is {value!r}; {' or '.join(rules)}") from error


def check_fields(settings: Any) -> None:
    """`check_values` of a dataclass; a `MatchingConfig` is called `matching`, as in a config."""
    kind = type(settings)
    values = {name: value for name, value in vars(settings).items() if isinstance(value, PLAIN)}
    check_values(values, get_type_hints(kind, include_extras=True), kind.__name__.removesuffix("Config").lower())


Given = ParamSpec("Given")
Made = TypeVar("Made")


def checked(call: Callable[Given, Made]) -> Callable[Given, Made]:
    """Decorator of an `__init__` whose values are checked without a config too; objects pass, whatever they are."""
    parameters, owner = inspect.signature(call), call.__qualname__.partition(".")[0]

    @functools.wraps(call)
    def checking(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        given = parameters.bind(*args, **kwargs).arguments
        plain = {name: value for name, value in given.items() if isinstance(value, PLAIN)}
        check_values(plain, parameters_of(call), owner)
        return call(*args, **kwargs)

    return checking


def located(target: str, name: str) -> Callable[..., Any]:
    """What a dotted name names. Raises InputError where that cannot be imported, with the import's own message."""
    if not target:
        raise InputError(f"{name} has no _target_; write the class there, such as baselines.identity.Identity")
    first, *rest = parts = target.split(".")
    found: Any = None
    try:
        if all(part.isidentifier() for part in parts) and find_spec(first):
            found = import_module(first)
            for part in rest:
                if hasattr(found, "__path__") and find_spec(f"{found.__name__}.{part}"):
                    import_module(f"{found.__name__}.{part}")
                found = getattr(found, part, None)
    except (Exception, SystemExit) as problem:
        frame = traceback.extract_tb(problem.__traceback__)[-1]
        place = f"{frame.filename}:{frame.lineno}"
        if isinstance(problem, SyntaxError) and problem.filename:
            place = f"{problem.filename}:{problem.lineno}"
        raise InputError(
            f"{name} cannot be imported ({target}: {type(problem).__name__} at {place}: {first_line(problem)}); "
            "mend this line or install what it needs"
        ) from problem
    if not callable(found):
        raise InputError(f"{name} names {target}, which does not exist; check _target_ in its config")
    return found


def names_weights(kind: Any) -> bool:
    """Whether a parameter of this type names weights: `Weights`, or `Weights | None`."""
    return NAMES_WEIGHTS in getattr(kind, "__metadata__", ()) or any(map(names_weights, get_args(kind)))


def parameters_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Name -> type of the parameters of a function or class, with those that `**settings` passes on to its base."""
    classes = target.__mro__ if isinstance(target, type) else [target]
    accepted: dict[str, Any] = {}
    for owner in classes:
        call: Any = inspect.getattr_static(owner, "__init__") if isinstance(owner, type) else owner
        hints, parameters = get_type_hints(call, include_extras=True), inspect.signature(call).parameters.values()
        named = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        accepted = {name: hints.get(name, Any) for name in named if name != "self"} | accepted
        if not any(one.kind == one.VAR_KEYWORD for one in parameters):
            break
    return accepted
