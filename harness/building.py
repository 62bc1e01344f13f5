"""Objects from nodes of the config: a method, a launcher, a tracker."""

from collections.abc import Mapping
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
    takes = store and "store" in parameters_of(located(settings["_target_"], name))
    given = {"store": build(store, "store")(settings)} if takes else {}
    with enough_memory():
        try:
            made = instantiate(settings, _convert_="all", **given)
        except InstantiationException as error:
            cause = error.__cause__ or error
            if isinstance(cause, InputError) or ran_out(cause):
                raise cause from None
            raise InputError(
                f"{node['_target_']} cannot be built ({type(cause).__name__}: {first_line(cause)}); "
                "check its settings and its weights"
            ) from error
    if name == "method":
        require_method(made, node["_target_"])
    return made
