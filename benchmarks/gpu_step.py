"""What replays and grouped targets save on a GPU, and what items cost there: one script, for a machine lent briefly.

    python -m benchmarks.gpu_step [--model sd1] [--side 512] [--references 1] [--batch 8] [--repeats 5] [--device auto]

Stage 3 with features of every timestep (guidance.refresh=1) and six regions, with drawn weights, which say nothing of
pictures; bfloat16 where the GPU computes in it. Gradients of all ways must agree first. Then the ways take turns in
this process: a ratio is that of one turn, and a table has the median of ratios and the lowest and highest of them.
Updates before the first replay are counted apart. An item is the inversion of its pictures, 150 updates and the
decoder; clusters, matches and the encoder of stages 1 and 2 are left out. The lines of a device without replays are
those of the ways that it has.
"""

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.subjects import Subject, guidance, named_model, pictures
from stylegallery.contract import ignored
from stylegallery.devices import repeatable_gradients
from stylegallery.guidance import GuidanceConfig, Scene, SceneLosses, initial_latent, optimise_together
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import Execution
from stylegallery.replay import WARM_UPS, Replayed

WAYS = {
    "a call for each region, updates called": Execution(grouped=False, replayed=False),
    "a call for all regions, updates called": Execution(grouped=True, replayed=False),
    "a call for each region, updates replayed": Execution(grouped=False, replayed=True),
    "a call for all regions, updates replayed": Execution(grouped=True, replayed=True),
}
INVERSION_STEPS, STYLE_STEPS = 15, 150  # the paper's
ITEMS = 750  # of Table 1


def ways(device: torch.device) -> dict[str, Execution]:
    return {name: way for name, way in WAYS.items() if device.type == "cuda" or not way.replayed}


def row(name: str, values: Sequence[float], ratios: Sequence[float], *more: str) -> None:
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print("|", " | ".join([name, f"{median(values):.4g}", f"{median(ratios):.2f}", spread, *more]), "|", flush=True)


def head(*columns: str) -> None:
    print("\n|", " | ".join(columns), "|\n|" + "---|" * len(columns))


def gibibytes(device: torch.device) -> str:
    """The most memory of the GPU since the last call."""
    if device.type != "cuda":
        return "-"
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return f"{peak:.2f}"


# --- do all ways compute the same? ---


def gradients(one: Subject, config: GuidanceConfig, execution: Execution) -> list[Tensor]:
    """Of the energy, in as many calls as a replay needs and two more, each at another timestep and latent."""
    timesteps = one.model.timesteps(WARM_UPS + 3)
    losses = SceneLosses(one.model, [Scene(*one[1:])], config, timesteps, execution=execution)
    latents = initial_latent(one.content, config).clone().requires_grad_()

    def gradient() -> Tensor:
        with repeatable_gradients():
            style, content = losses(latents)
            (found,) = torch.autograd.grad((style + config.content_weight * content).sum(), latents)
        return found

    computed, found = Replayed(gradient, latents.device) if execution.replayed else gradient, list[Tensor]()
    for timestep in timesteps:
        with torch.no_grad():
            losses.prepare(timestep)
            latents.mul_(0.9)
        found.append(computed().clone())
    return found


def require_agreement(one: Subject, config: GuidanceConfig) -> None:
    """Gradients of L1 losses are sums of signs: where a difference is almost zero rounding decides, so that those of
    grouped targets may differ in a few elements. Replays compute what calls do."""
    found = {way: gradients(one, config, way) for way in ways(one.model.device).values()}
    called = Execution(grouped=False), Execution(grouped=True)
    sides = [(called[1], called[0], 0.01), *((way, called[way.grouped], 1e-3) for way in found if way.replayed)]
    for way, other, limit in sides:
        pairs = zip(found[way], found[other], strict=True)
        worst = max(((gradient - expected).norm() / expected.norm()).item() for gradient, expected in pairs)
        print(f"gradients of {way} are those of {other} but for {worst:.2g}")
        assert worst <= limit, f"the gradients differ by more than {limit}"


# --- steps ---


def step_seconds(
    model: DiffusionModel, scenes: list[Scene], config: GuidanceConfig, execution: Execution
) -> tuple[float, float]:
    """The median of a step once replays have begun, and what the steps before took longer in all."""
    ends = [time.perf_counter()]

    def advance(*_: Any, **__: Any) -> None:
        ends.append(time.perf_counter())

    optimise_together(model, scenes, config, [advance, *[ignored] * (len(scenes) - 1)], execution=execution)
    took = [end - before for before, end in itertools.pairwise(ends)]
    usual = median(took[WARM_UPS + 1 :])
    return usual, sum(took[: WARM_UPS + 1]) - (WARM_UPS + 1) * usual


def time_ways(one: Subject, config: GuidanceConfig, repeats: int) -> None:
    head("one item", "s a step", "times faster", "lowest to highest", "first steps longer by, s", "peak, GiB")
    scenes, found = [Scene(*one[1:])], dict[str, list[tuple[float, float]]]()
    memory = dict[str, str]()
    for _ in range(repeats):
        for name, way in ways(one.model.device).items():
            found.setdefault(name, []).append(step_seconds(one.model, scenes, config, way))
            memory[name] = gibibytes(one.model.device)
    first, *_ = found.values()
    for name, times in found.items():
        ratios = [slow / fast for (slow, _), (fast, _) in zip(first, times, strict=True)]
        row(name, [usual for usual, _ in times], ratios, f"{median(longer for _, longer in times):.2f}", memory[name])


def time_batches(one: Subject, config: GuidanceConfig, batch: int, repeats: int) -> None:
    """As the device does it by itself."""
    head("items at once", "s a step and item", "times faster", "lowest to highest", "peak, GiB")
    model, execution = one.model, Execution.on(one.model.device)
    found: dict[int, list[float]] = {1: [], batch: []}
    memory = dict[int, str]()
    for _ in range(repeats):
        for size, seconds in found.items():
            seconds.append(step_seconds(model, [Scene(*one[1:])] * size, config, execution)[0] / size)
            memory[size] = gibibytes(model.device)
    for size, seconds in found.items():
        row(str(size), seconds, [slow / fast for slow, fast in zip(found[1], seconds, strict=True)], memory[size])


# --- items ---


def item_seconds(one: Subject, config: GuidanceConfig, size: int) -> tuple[float, float, float]:
    """Of a batch: the inversion of every picture, one item after the other; stage 3; the decoder."""
    model, ends = one.model, [time.perf_counter()]
    for _ in range(size):
        list(model.invert(torch.cat([one.content.latent, *(each.latent for each in one.references)]), INVERSION_STEPS))
    model.decode(one.content.latent).cpu()  # waits for all before
    ends.append(time.perf_counter())
    found = optimise_together(model, [Scene(*one[1:])] * size, config, [ignored] * size)
    ends.append(time.perf_counter())
    for latent, _ in found:
        model.decode(latent).cpu()
    ends.append(time.perf_counter())
    inversion, stage3, decoder = (end - before for before, end in itertools.pairwise(ends))
    return inversion, stage3, decoder


def time_items(one: Subject, config: GuidanceConfig, batch: int, repeats: int) -> None:
    parts = "inversion", f"{config.steps} steps", "decoder", "all, lowest to highest"
    head("items at once, s an item", "refresh", *parts, f"{ITEMS} items, h")
    for refresh in (1, guidance().refresh):
        for size in (1, batch):
            turns = [item_seconds(one, replace(config, refresh=refresh), size) for _ in range(repeats)]
            columns = [f"{median(column) / size:.3g}" for column in zip(*turns, strict=True)]
            whole = [sum(turn) / size for turn in turns]
            spread = f"{median(whole):.3g}, {min(whole):.3g} to {max(whole):.3g}"
            hours = f"{median(whole) * ITEMS / 3600:.2f}"
            print("|", " | ".join([str(size), str(refresh), *columns, spread, hours]), "|", flush=True)


def measure(model: DiffusionModel, images: Sequence[Tensor], steps: int, timed: int, batch: int, repeats: int) -> None:
    """All tables. `steps` are those of an item, `timed` those of a turn after the first four."""
    one = Subject.of(model, images)
    exact = replace(guidance(), refresh=1)
    require_agreement(one, exact)
    short = replace(exact, steps=WARM_UPS + 1 + timed)
    optimise_together(model, [Scene(*one[1:])], replace(exact, steps=2), [ignored])  # loads kernels
    gibibytes(model.device)
    time_ways(one, short, repeats)
    time_batches(one, short, batch, repeats)
    time_items(one, replace(exact, steps=steps), batch, max(1, repeats // 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sd1", help="sd1, quarter, sdxl, embedded, or a folder")
    parser.add_argument("--side", type=int, default=512, help="of the square pictures")
    parser.add_argument("--references", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STYLE_STEPS, help="of an item")
    parser.add_argument("--timed", type=int, default=16, help="steps of a turn of the first two tables")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    model = named_model(arguments.model, arguments.device)
    name = torch.cuda.get_device_name() if model.device.type == "cuda" else "CPU"
    print(f"{arguments.model}, {arguments.side} px, {name}, {model.dtype}, PyTorch {torch.__version__}")
    images = pictures(arguments.side, arguments.references)
    measure(model, images, arguments.steps, arguments.timed, arguments.batch, arguments.repeats)


if __name__ == "__main__":
    main()
