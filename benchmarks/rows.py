"""What one item of every row of Table 1 costs, estimated: a table in Markdown, for docs/reproduce.md.

    python -m benchmarks.rows [LABEL ...]

One photo, one reference, Stable Diffusion 1.5 at 512 px; the rows on SDXL at their own 1024 px. The real code of a row
runs on the meta device, which knows shapes and computes nothing, with the settings of conf/ and networks of the
published shapes without weights. A row's cost is linear in its steps, so that it runs with few of them twice and the
line through both gives it at the steps of its settings. StyleGallery's own rows begin at drawn regions and matches, as
the meta device has no values to cluster: regions and matches are left out of them. Loading and what a row does on the
CPU are left out of all.

* TFLOP: matrix products and convolutions, a multiplication and an addition as two operations.
* Calls: operations that PyTorch issues to the device, views left out.
* Seconds at most: MEASURED_SECONDS times the larger of two ratios to the measured work, that of FLOP and that of calls.
  The measured GPU waited for Python to issue calls. A row with as many calls waits as long; a row with more FLOP per
  call may come nearer to the GPU's own pace, which is at least the measured one. So neither bound is passed on that
  machine, as far as calls cost Python the same.
* GiB at least: the row's weights in bfloat16 and nothing else.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from benchmarks.blank import method_of, stable_diffusion
from benchmarks.flops import META, Answers
from benchmarks.subjects import CONTENT, SAMPLES, Subject, guidance, settings
from stylegallery.contract import Item
from stylegallery.guidance import optimise
from stylegallery.overrides import CONFIGS

MEASURED_SECONDS = 27  # 15 + 150 steps with one reference on an H200, see docs/full_size.md
ITEM = Item("coffee", CONTENT, (SAMPLES / "style" / "mosaic_bay.jpg",))
WITHOUT_NETWORK = ("color_transfer", "identity", "reference_copy")
REGIONAL = {"stylegallery": (6, 2), "stylegallery_released": (6, 2), "global_style": (1, 1)}  # regions, inversions
FEW_STEPS = {"img2img": (2, 4), "styleid": (2, 3), "ip_adapter": (2, 3), "styleshot": (2, 3)}  # of others 1 and 2


# --- counts ---


class Cost(NamedTuple):
    """Of a call: floating-point operations, and operations issued to the device."""

    flop: float
    calls: float

    def __add__(self, other: Any) -> "Cost":
        return Cost(self.flop + other.flop, self.calls + other.calls)

    def __mul__(self, times: Any) -> "Cost":
        return Cost(times * self.flop, times * self.calls)


class Counts(Answers):
    """Adds up the cost of what has a result on the meta device; one mode for both, as two take twice the time."""

    def __init__(self) -> None:
        super().__init__()
        self.flop = self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found, kwargs = super().__torch_dispatch__(func, types, args, kwargs), kwargs or {}
        first = found[0] if isinstance(found, tuple | list) and found else found
        if isinstance(first, Tensor) and first.device == META and not func.is_view:
            self.calls += 1
            if func.overloadpacket in flop_registry:
                self.flop += flop_registry[func.overloadpacket](*args, **kwargs, out_val=found)
        return found


def cost(run: Callable[[], object]) -> Cost:
    with Counts() as counts:
        run()
    return Cost(counts.flop, counts.calls)


def extrapolated(of_steps: Callable[[int], Cost], steps: int, few: int, more: int) -> Cost:
    """The cost of `steps`, on the line through those of `few` and `more` steps."""
    low, high = of_steps(few), of_steps(more)
    return low + (high + low * -1) * ((steps - few) / (more - few))


# --- rows ---


class Row(NamedTuple):
    """The cost of an item, and the bytes of the row's weights in bfloat16."""

    cost: Cost
    weights: int


def weights_of(method: Any) -> int:
    """Bytes in bfloat16 of all parameters that a method holds on the meta device, itself or in a part of it."""
    found, parts = dict[int, int](), [method]
    for _ in range(3):  # a pipeline of a method, and what it holds
        held = [value for part in parts for value in (part if isinstance(part, tuple) else vars(part).values())]
        networks = [value for value in held if isinstance(value, nn.Module)]
        found |= {id(one): 2 * one.numel() for network in networks for one in network.parameters() if one.is_meta}
        others = [value for value in held if not isinstance(value, nn.Module)]
        parts = [value for value in others if isinstance(value, tuple) or hasattr(value, "__dict__")]
    return sum(found.values())


def baseline(label: str, *overrides: str) -> Row:
    """A row whose code runs as it is, from the pictures' files to the result."""
    weights = 0

    def run(*few: str) -> Cost:
        nonlocal weights
        method = method_of(label, *overrides, *few)
        weights = weights_of(method)
        return cost(lambda: method.stylize(ITEM, torch.Generator().manual_seed(0)))

    steps = settings(f"method={label}", "model=sd15", *overrides).get("steps")
    if steps is None:
        return Row(run(), weights)
    offset = ["method.offset=0"] if label == "style_aligned" else []  # it lies below the steps, and costs nothing
    found = extrapolated(lambda few: run(f"method.steps={few}", *offset), steps, *FEW_STEPS.get(label, (1, 2)))
    return Row(found, weights)


def regional(label: str, regions: int, inverted: int, *overrides: str, side: int = 512) -> Row:
    """A row of StyleGallery's: encoding two pictures, inversion of the first `inverted` of them, stage 3, decoding."""
    model, node = stable_diffusion(), settings(f"method={label}", "model=sd15", *overrides)
    blank = torch.zeros(1, 3, side, side, device=META)
    with Answers():
        one = Subject.of(model, [blank] * 2, regions)
    latent, steps, refresh = one.content.latent, node.guidance.steps, node.guidance.refresh
    ends = cost(lambda: model.encode(blank)) * 2 + cost(lambda: model.decode(latent))
    inversion = cost(lambda: list(model.invert(latent, 1))) * (inverted * node.segmentation.inversion_steps)

    def updates(count: int) -> Cost:
        """With one pass of the pictures."""
        config = guidance(f"method={label}", f"method.guidance.steps={count}", f"method.guidance.refresh={count}")
        return cost(lambda: optimise(*one, config))

    single = updates(1)
    update = updates(2) + single * -1
    passed = single + update * -1
    return Row(ends + inversion + update * steps + passed * (steps / refresh), weights_of(model))


# --- the table ---


def measured() -> Cost:
    """What `benchmarks.full_size` measured: two regions, one reference, a pass of the pictures at every step."""
    return regional("stylegallery", 2, 2, "method.guidance.refresh=1").cost


def row(label: str) -> Row:
    return regional(label, *REGIONAL[label]) if label in REGIONAL else baseline(label)


def two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def line(label: str, of_measured: Cost) -> str:
    """The row of a label in Markdown."""
    if label in WITHOUT_NETWORK:
        return f"| `{label}` | no network | | | |"
    (flop, calls), weights = row(label)
    seconds = two_digits(MEASURED_SECONDS * max(flop / of_measured.flop, calls / of_measured.calls))
    return f"| `{label}` | {flop / 1e12:,.1f} | {calls:,.0f} | {seconds} | {two_digits(weights / 2**30)} |"


def main() -> None:
    labels = list(yaml.safe_load((CONFIGS / "experiment" / "table1.yaml").read_text())["experiment"]["runs"])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="*", metavar="LABEL", help="rows; all, if none is given")
    chosen = parser.parse_args().labels or labels  # argparse would hold no label at all against `choices`
    if unknown := [label for label in chosen if label not in labels]:
        parser.error(f"Table 1 has no row {unknown[0]}; pass some of {', '.join(labels)}")
    of_measured = measured()
    pace = of_measured.flop / 1e12 / MEASURED_SECONDS
    print(f"measured work: {of_measured.flop / 1e12:,.1f} TFLOP, {of_measured.calls:,.0f} calls, {pace:.1f} TFLOP/s\n")
    print("| row | TFLOP | calls | seconds at most | GiB at least |\n|---|---|---|---|---|")
    for label in chosen:
        print(line(label, of_measured), flush=True)


if __name__ == "__main__":
    main()
