"""Published results: finished pictures of any method, read from a folder, so that they are scored like the others.

A picture belongs to an item by its name: `pattern` with {item} (the item's id), {content} (name of the content file
without suffix) and {references} (those of the references in order, joined by `_`). The results on the project page of
StyleGallery (iiiiiiiword/SG-project-page at b3ba770) are `pattern=res_{content}_{references}.png`. The model and the
settings that made the pictures are unknown; a table with their scores has to say so.
"""

from pathlib import Path
from typing import Literal

import torch

from baselines.inputs import PictureReader
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.errors import InputError, require
from stylegallery.images import read_image, resize
from stylegallery.settings import Resolution, Weights, checked


class Published:
    """Uses no random numbers. Masks and match constraints of an item are ignored."""

    @checked
    def __init__(
        self, resolution: Resolution, resizing: Literal["square", "keep"], path: Weights, pattern: str
    ) -> None:
        require(Path(path).is_dir(), "path is a folder of finished pictures", path)
        try:
            pattern.format(item="", content="", references="")
        except (KeyError, IndexError, ValueError) as error:
            raise InputError(f"pattern {pattern} may only use {{item}}, {{content}} and {{references}}") from error
        self.read, self.folder, self.pattern = PictureReader(resolution, resizing), Path(path), pattern

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        content, references = self.read(item)
        name = self.pattern.format(
            item=item.id, content=item.content.stem, references="_".join(path.stem for path in item.references)
        )
        image = resize(read_image(self.folder / name), self.read.resolution, self.read.resizing, self.read.multiple)
        if image.shape != content.shape:
            raise InputError(f"{self.folder / name} has another aspect than its content; pass resizing=square")
        return Stylization(image, content, references)
