"""Stylise one content picture from several references: compose → build → run → write the record → print a table."""

import hashlib
import sys
from pathlib import Path

import hydra
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from data.benchmark import custom_item
from evaluation.progress import Bars
from evaluation.record import Request, prepare_folder, read_record, write_result
from stylegallery.errors import InputError

ITEM_KEYS = ("content", "references", "mask", "reference_masks", "pins", "excluded", "forbidden")


def run(config: DictConfig, console: Console) -> None:
    values = OmegaConf.to_container(config, resolve=True)
    item = custom_item(**{key: values[key] for key in ITEM_KEYS})
    settings = {key: values[key] for key in ("method", "encoder", "model")}
    request = Request.of(item, config.seed, settings)
    folder = Path(str(config.out or f"outputs/{item.id}-{request.digest()}"))
    prepare_folder(folder)
    record = read_record(folder)
    if record is not None and record["digest"] == request.digest():
        console.print(f"{folder} already holds this result; nothing to do")
    else:
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            method = instantiate(config.method, _convert_="all")
        except InstantiationException as error:
            if isinstance(error.__cause__, InputError):
                raise error.__cause__ from None
            raise
        seed = hashlib.sha256(f"{config.seed} {item.id}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(seed[:6], "big"))
        with Bars(console) as progress:
            result = method.stylize(item, generator, progress)
        record = write_result(folder, request, result, config.method.guidance.content_weight)
    console.print(summary(record, folder))


def summary(record: dict, folder: Path) -> Table:
    table = Table(title=f"{record['item']} · {record['size'][0]}x{record['size'][1]} px", show_header=False)
    table.add_row("result", str(folder / "stylised.png"))
    table.add_row("at a glance", str(folder / "overview.png"))
    table.add_row("references", str(sum(role.startswith("reference ") for role in record["inputs"])))
    for stage, seconds in record["seconds"].items():
        table.add_row(stage, f"{seconds:.1f} s")
    table.add_row("peak memory", f"{record['peak_memory_mib'] / 1024:.2f} GiB")
    return table


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    try:
        run(config, Console())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except FloatingPointError as error:
        print(f"error: {error}; use dtype=float32 or a smaller learning rate", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
