"""The method of a studio: its weights are loaded once, and every visitor's settings are put around them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock, RLock
from typing import Any

from hydra.utils import instantiate

from stylegallery.errors import SettingsError, require
from stylegallery.overrides import composed
from stylegallery.pipeline import StyleGallery
from stylegallery.store import AnalysisStore
from stylegallery.studio.wishes import Wishes

STORE_LIMIT = 0.5  # GiB of analyses of one visitor


class Workshop:
    """Makes the methods of all visitors. `overrides` are those of the studio: model=, encoder=, preset=."""

    def __init__(self, overrides: Sequence[str] = ()) -> None:
        """Raises InputError where they cannot be used, or weights are not on this machine."""
        self.overrides = tuple(overrides)
        self.lock = Lock()  # Hydra composes one config at a time
        self.networks = RLock()  # while it runs, the model holds whose attention it records: one visitor at a time
        first = StyleGallery.from_config(*overrides, "store=null")
        require(first.time_budget is None, "the studio has a button to stop; leave out time_budget=", first.time_budget)
        self.parts: dict[str, Any] = {"model": first.model} | {
            name: getattr(first.analyser, name) for name in ("encoder", "depth", "segmenter")
        }
        self.defaults = Wishes.in_config(self.settings(Wishes()))
        self.updates = updates_by_steps(first)
        self.quick_resolution = min(256, self.defaults.resolution or 256)

    def settings(self, wishes: Wishes) -> dict[str, Any]:
        """The resolved settings of the method, as run.py has them."""
        with self.lock:
            return composed([*self.overrides, *wishes.overrides()])[0]

    def method(self, wishes: Wishes, folder: Path) -> StyleGallery:
        """The method with a visitor's settings, which keeps its analyses in a folder of the visitor.

        Raises:
            InputError: settings that do not go together.
        """
        settings = self.settings(wishes)
        own = {name: value for name, value in settings.items() if name not in self.parts}
        make = instantiate(own | {"_partial_": True}, _convert_="all")  # a part handed to Hydra itself would be copied
        made: StyleGallery = make(**self.parts, store=AnalysisStore(settings, str(folder), STORE_LIMIT))
        return made


def updates_by_steps(method: StyleGallery) -> dict[int, int]:
    """How often a painting is updated in so many steps, for all numbers that a visitor may set and the model has."""
    least, most = Wishes.limits()["steps"]
    found = {}
    for steps in range(int(least), int(most) + 1):
        try:
            found[steps] = method.updates(replace(method.guidance, steps=steps))
        except SettingsError:  # the model's schedule has no such number, or all of it is left out
            continue
    return found
