"""Floating-point operations of an optimisation step, of an inversion and of their parts, in TFLOP, at square pictures.

    python -m benchmarks.flops [--models sd1:512 sdxl:1024] [--references 1 2 5 20] [--refresh 1 10]

Counted on the meta device, which knows shapes and computes nothing, of the code that runs: `optimise` for ours,
`benchmarks.published` for the published formulation. Matrix products and convolutions count, a multiplication and an
addition as two operations. Six content regions take their styles from the references in turn. The floor is the pass
forward and backward of the latent, without which no step is possible.
"""

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import published
from benchmarks.subjects import Subject, drawn, guidance
from stylegallery.guidance import GuidanceConfig, guided_layers, initial_latent, optimise
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import minimise

META = torch.device("meta")
INVERSION_STEPS, TIMESTEP = 15, 501


class Answers(TorchDispatchMode):
    """Answers what code asks of values, which the meta device does not have: all are finite, every number is 1, what is
    searched for is found once, in the first place."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, kwargs = args[0] if args else None, kwargs or {}
        if isinstance(given, torch.Tensor) and given.device == META:
            if func is torch.ops.aten._local_scalar_dense.default:
                return torch.ones((), dtype=given.dtype).item()
            if func is torch.ops.aten._to_copy.default and str(kwargs.get("device")) == "cpu":
                return torch.ones(given.shape)
            if func is torch.ops.aten.nonzero.default:
                return torch.zeros(1, given.dim(), dtype=torch.int64)
        return func(*args, **kwargs)


def counted(run: Callable[[], object]) -> int:
    """Operations of a call."""
    with Answers(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def subject(model: DiffusionModel, side: int, references: int) -> Subject:
    with Answers():
        return Subject.of(model, [torch.zeros(1, 3, side, side, device=META)] * (1 + references))


# --- the parts ---


def forward(model: DiffusionModel, latent: torch.Tensor, config: GuidanceConfig) -> int:
    """A pass of the network for one latent."""
    with torch.no_grad():
        return counted(lambda: model.self_attention(latent, TIMESTEP, guided_layers(model, config)))


class Reached(Exception):
    """The last layer that the losses look at has computed."""


def to_last_layer(model: DiffusionModel, latent: torch.Tensor, config: GuidanceConfig) -> int:
    """The part of a pass up to the last layer that the losses look at."""
    layers, seen = guided_layers(model, config), list[torch.Tensor]()

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        seen.append(F.scaled_dot_product_attention(query, key, value))
        if len(seen) == len(layers):
            raise Reached
        return seen[-1]

    def run() -> None:
        with suppress(Reached), model.replaced_self_attention(layers, [attend] * len(layers)):
            model.predict_noise(latent, TIMESTEP)

    with torch.no_grad():
        return counted(run)


def floor(model: DiffusionModel, latent: torch.Tensor, config: GuidanceConfig) -> int:
    """A pass forward and backward for one latent, from the queries and outputs that the losses look at."""

    def run() -> None:
        attention = model.self_attention(latent.clone().requires_grad_(), TIMESTEP, guided_layers(model, config))
        torch.stack([tensor.sum() for layer in attention for tensor in (layer.query, layer.output)]).sum().backward()

    return counted(run)


def full_attention(one: Subject, config: GuidanceConfig) -> int:
    """A full N x N attention in every layer that the losses look at: what a match costs as published."""
    with Answers(), torch.no_grad():
        attention = one.model.self_attention(one.content.latent, TIMESTEP, guided_layers(one.model, config))
        match, scale = one.matches[:1], config.attention_scale
    return counted(lambda: published.style_loss(attention, [attention], one.content, one.references, match, scale))


# --- a step ---


def published_step(one: Subject, config: GuidanceConfig) -> float:
    """A step as published: every picture of the run, K masked attentions, forward and backward of the latent."""
    start, losses = initial_latent(one.content, config), published.PublishedLosses(*one, config)
    return counted(lambda: list(minimise(start, [TIMESTEP], 1, losses, lambda _: 0.05, 1.0, config.content_weight)))


def our_step(one: Subject, config: GuidanceConfig) -> float:
    """The mean of the steps that share one pass of content and references."""
    return counted(lambda: optimise(*one, replace(config, steps=config.refresh))) / config.refresh


# --- tables ---


def show(topology: str, side: int, references: list[int], refresh: list[int]) -> None:
    with Answers():
        model = drawn(topology, META, torch.float32)
    config, single = guidance(), subject(model, side, 1)
    latent = single.content.latent
    once, least = forward(model, latent, config), floor(model, latent, config)
    parts = {
        "UNet forward": once,
        "of it after the last layer that the losses look at": once - to_last_layer(model, latent, config),
        "forward and backward: the floor of a step": least,
        f"one N x N attention in all {config.layers} layers": full_attention(single, config),
        "decoder": counted(lambda: model.decode(latent)),
        f"inversion of a picture in {INVERSION_STEPS} steps": counted(
            lambda: list(model.invert(latent, INVERSION_STEPS))
        ),
        "the same as published": counted(lambda: published.invert(model, latent, INVERSION_STEPS)),
    }
    print(f"\n{topology}, {side} x {side} pixels\n\n| part | TFLOP |\n|---|---|")
    for name, count in parts.items():
        print(f"| {name} | {count / 1e12:.3f} |")
    columns = [f"{name} {each}" for each in refresh for name in ("refresh", "times less at")]
    print("\n| references | matched | published | " + " | ".join(columns) + " |\n|---|---|---|" + "---|" * len(columns))
    for number in references:
        one = subject(model, side, number)
        theirs = published_step(one, config)
        ours = [our_step(one, replace(config, refresh=each)) for each in refresh]
        cells = " | ".join(f"{count / 1e12:.2f} | {theirs / count:.2f}" for count in ours)
        print(f"| {number} | {one.matched} | {theirs / 1e12:.2f} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["sd1:512", "sdxl:1024"], metavar="TOPOLOGY:SIDE")
    parser.add_argument("--references", nargs="+", type=int, default=[1, 2, 5, 20])
    parser.add_argument("--refresh", nargs="+", type=int, default=[1, 10], help="guidance.refresh of our side")
    arguments = parser.parse_args()
    for model in arguments.models:
        topology, _, side = model.partition(":")
        show(topology, int(side), arguments.references, arguments.refresh)


if __name__ == "__main__":
    main()
