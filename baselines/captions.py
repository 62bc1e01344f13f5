"""Text prompts of pictures, by one published rule."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from stylegallery.errors import InputError


class Captions:
    """A picture's prompt: its entry in the YAML file `path`, keyed `folder/name without suffix`; without a file, the
    same `default` for every picture.

    Raises:
        InputError: the file is missing or is no mapping from strings to strings; a picture has no entry.
    """

    def __init__(self, path: str | None, default: str) -> None:
        self.path, self.default = path, default
        self.entries: Any = {}
        if path is not None:
            try:
                self.entries = OmegaConf.to_container(OmegaConf.load(path))
            except (OSError, UnicodeDecodeError, YAMLError) as error:
                raise InputError(f"captions file {path} cannot be read; pass YAML of folder/name: text") from error
            if not isinstance(self.entries, dict) or not all(isinstance(text, str) for text in self.entries.values()):
                raise InputError(f"captions file {path} is no mapping of folder/name to text; rewrite it so")

    def __call__(self, picture: Path) -> str:
        if self.path is None:
            return self.default
        key = f"{picture.resolve().parent.name}/{picture.stem}"
        if key not in self.entries:
            raise InputError(f"captions file {self.path} has no entry {key}; add one")
        return self.entries[key]
