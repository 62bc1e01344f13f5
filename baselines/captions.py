"""Text prompts of pictures, by one published rule."""

from pathlib import Path
from typing import Any

from stylegallery.errors import InputError
from stylegallery.files import read_yaml


class Captions:
    """A picture's prompt: its entry in the YAML file `path`, keyed `folder/name without suffix`; without a file, the
    same `default` for every picture.

    Raises:
        InputError: as `read_yaml`; the file is no mapping from strings to strings; a picture has no entry.
    """

    def __init__(self, path: str | None, default: str) -> None:
        self.path, self.default = path, default
        self.entries: Any = {}
        if path is not None:
            self.entries = read_yaml(Path(path), "captions file of folder/name: text")
            if not isinstance(self.entries, dict) or not all(isinstance(text, str) for text in self.entries.values()):
                raise InputError(f"captions file {path} is no mapping of folder/name to text; rewrite it so")

    def __call__(self, picture: Path) -> str:
        if self.path is None:
            return self.default
        key = f"{picture.resolve().parent.name}/{picture.stem}"
        if key not in self.entries:
            raise InputError(f"captions file {self.path} has no entry {key}; add one")
        return self.entries[key]
