"""Where the collections of pictures are published that can be fetched."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """Where a collection is published; `folders`: our name of a folder -> its name there, where they differ."""

    url: str
    megabytes: int
    licence: str
    folders: Mapping[str, str] = field(default_factory=dict)

    def address(self, name: str) -> str:
        folder, slash, rest = name.partition("/")
        return f"{self.url}/{self.folders.get(folder, folder)}{slash}{rest}"


SOURCES = {
    "stylegallery": Source(
        "https://raw.githubusercontent.com/iiiiiiiword/StyleGallery/bd31294831754e4ea6c95ba61976bdef51961a95",
        megabytes=87,
        licence="MIT",
    ),
    "styleid": Source(
        "https://raw.githubusercontent.com/jiwoogit/StyleID/d4ea655dc1f7b19e0eac9553ad087132d18bb96f",
        megabytes=30,
        licence="MIT",
        folders={"content": "data/cnt", "style": "data/sty"},
    ),
}
