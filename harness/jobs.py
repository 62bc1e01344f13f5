"""Jobs: the items of a benchmark, or of a shard of it, that one process does with one method."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from data.benchmark import load_items, places
from harness.folder import LABEL, RunFolder
from harness.frozen import freeze, settings_of
from stylegallery.contract import Item
from stylegallery.errors import InputError, require
from stylegallery.overrides import store_settings
from stylegallery.provenance import code_digest
from stylegallery.settings import check


@dataclass(frozen=True)
class Job:
    """One method, with its resolved settings, and the items that one process does."""

    out: Path
    label: str  # of its results in `out`; "" where `out` itself is the result of a single item
    seed: int
    method: dict[str, Any]
    items: list[Item]
    settings: str | None = None  # digest of the label's frozen settings; None where none are frozen
    root: str | None = None  # of the benchmark's pictures, where it has one
    store: dict[str, Any] | None = None  # settings of the store of analyses, which decide no result

    def __post_init__(self) -> None:
        code_digest(self.method)  # cached now: the sources may be edited while jobs before this one run

    @classmethod
    def of(cls, config: DictConfig, label: str) -> "Job":
        """The job of a composed config; its settings are frozen in OUT/config/<label>.yaml first.

        Raises:
            InputError: bad label, shard or limit, an incomplete benchmark, or OUT has the label with other settings.
        """
        rule = "label consists of letters, digits and _.@=+,- and begins with a letter, a digit or _"
        require(LABEL.fullmatch(label) is not None, rule, label)
        settings = settings_of(config)
        check(settings["method"], "method")
        out = Path(str(config.out or f"outputs/{config.data.get('manifest', 'folder')}"))
        items = load_items(config.data)
        mine = items[: config.limit][parse_shard(str(config.shard))]
        frozen = freeze(out, label, config, items)
        root = places(settings["data"]).get("root")
        return cls(out, label, config.seed, frozen["method"], mine, frozen["settings"], root, store_settings(config))

    @property
    def batch(self) -> int:
        """Items that the method does together."""
        return int(self.method.get("batch", 1))

    @property
    def single(self) -> bool:
        return not self.label

    def folder(self, item: Item) -> Path:
        return self.out if self.single else RunFolder(self.out).result(self.label, item.id).path

    def lock_name(self, item: Item) -> str:
        return "run" if self.single else f"{self.label}/{item.id}"

    def lock_file(self, item: Item) -> Path:
        return RunFolder(self.out).lock(self.lock_name(item))


def parse_shard(shard: str) -> slice:
    """`k/n`, k counted from 0: every n-th item, so that shards are alike."""
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or int(found[1]) >= int(found[2]):
        raise InputError(f"shard is {shard}; pass k/n with k from 0 to n-1, such as 0/4")
    return slice(int(found[1]), None, int(found[2]))
