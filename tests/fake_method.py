"""A method that takes milliseconds: the content with noise laid over it."""

import os
import time
from pathlib import Path

import torch

from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.errors import SettingsError
from stylegallery.images import read_image


class Fake:
    """Fails on the items in `broken`; appends `process item` to `log` for every item that it does."""

    def __init__(self, strength: float, seconds: float, broken: list[str], log: str | None) -> None:
        if strength > 1:
            raise SettingsError(f"strength is at most 1, not {strength}")
        self.strength, self.seconds, self.broken, self.log = strength, seconds, broken, log

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        time.sleep(self.seconds)
        if item.id in self.broken:
            raise RuntimeError(f"no luck\nwith {item.id}")
        if "all" in self.broken:
            raise SettingsError("layers is 99, but the model has 16 layers")
        content = read_image(item.content)[..., ::2, ::2]
        references = [read_image(path)[..., ::2, ::2] for path in item.references]
        noise = torch.rand(content.shape, generator=generator)
        if self.log:
            with Path(self.log).open("a") as log:
                log.write(f"{os.getpid()} {item.id}\n")
        image = content.lerp(noise, self.strength)
        return Stylization(image, content, references, seconds={"all": 0.25}, peak_memory_mib=1.0)
