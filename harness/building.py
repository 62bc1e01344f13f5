"""Objects from nodes of the config: a method, a metric, a launcher, a tracker."""

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from stylegallery.contract import require_method
from stylegallery.errors import InputError, first_line
from stylegallery.memory import enough_memory, ran_out
from stylegallery.settings import check, located, parameters_of


def build(node: Any, name: str = "method", store: Mapping[str, Any] | None = None) -> Any:
    """Instantiate a node of the config. Errors of its constructor become one sentence.

    `store` is the node of the store of analyses, for those whose constructor takes one.

    Raises:
        InputError: it cannot be built.
    """
    settings: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    check(settings, name)
    target = located(settings["_target_"], name)
    takes = store and "store" in parameters_of(target)
    given = {"store": build(store, "store")(settings)} if takes else {}
    require_complete(target, {**settings, **given}, name)
    with enough_memory():
        try:
            made = instantiate(settings, _convert_="all", **given)
        except InstantiationException as error:
            cause = error.__cause__ or error
            if isinstance(cause, InputError) or ran_out(cause):
                raise cause from None
            raise InputError(
                f"{node['_target_']} cannot be built ({type(cause).__name__} at {place_of(cause, target)}: "
                f"{first_line(cause)}); check its settings and its weights"
            ) from error
    if name == "method":
        require_method(made, node["_target_"])
    return made


def require_complete(target: Callable[..., Any], settings: Mapping[str, Any], name: str) -> None:
    """Raises InputError where a parameter without a default has no setting; a partial node may leave some for later."""
    if not settings.get("_partial_"):
        try:
            inspect.signature(target).bind(**{key: value for key, value in settings.items() if key[:1] != "_"})
        except TypeError as error:
            raise InputError(
                f"{settings['_target_']} cannot be built ({error}); add this setting to the config of {name}"
            ) from error


def place_of(error: BaseException, owner: Callable[..., Any]) -> str:
    """FILE:LINE where an error was raised: the last place in the file of `owner`, if there is one, else anywhere."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    frame = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
    return f"{frame.filename}:{frame.lineno}"
