"""A time budget, by a clock that networks alone move."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import configured
from conftest import Pictures, RunInside, normal
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

import run
from harness.record import load_record
from stylegallery.contract import Item, Match
from stylegallery.draws import item_generator
from stylegallery.errors import InputError
from stylegallery.extras.small_models import ExtrasConfig
from stylegallery.extras.time_budget import steps_within
from stylegallery.guidance import GuidanceConfig, guidance_timesteps, optimise
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import Execution
from stylegallery.pipeline import StyleGallery
from stylegallery.segmentation import Segmentation

UPDATE, FEATURES, FIRST, DECODING = 1.0, 2.5, 7.0, 3.0  # seconds; FIRST: of the process, on top


class Clock:
    """Seconds of the calls of a model."""

    def __init__(self) -> None:
        self.now = 100.0
        self.first = FIRST

    def network(self, *_: object) -> None:
        self.now += self.first + (UPDATE if torch.is_grad_enabled() else FEATURES)
        self.first = 0.0

    def decoder(self, *_: object) -> None:
        self.now += DECODING


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[DiffusionModel], Clock]]:
    hooks = []

    def start(model: DiffusionModel) -> Clock:
        clock = Clock()
        monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
        hooks.append(model.unet.register_forward_pre_hook(clock.network))  # type: ignore[attr-defined]
        hooks.append(model.autoencoder.decoder.register_forward_pre_hook(clock.decoder))
        return clock

    yield start
    for hook in hooks:
        hook.remove()


def scene() -> tuple[Segmentation, list[Segmentation], list[Match]]:
    labels = torch.ones(8, 8, dtype=torch.int64)
    content, reference = (Segmentation(labels, normal(seed, 1, 4, 8, 8), normal(seed, 1, 4, 8, 8)) for seed in (0, 1))
    return content, [reference], [Match(1, 1, 1, 0.0, 0.0, 0.0, 0.0, False)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "iterations,refresh,highest,step", [(1, 1, 1000, 3.5), (1, 4, 1000, 3.5), (2, 1, 1000, 4.5), (1, 3, 600, 7.0)]
)
def test_a_run_takes_its_budget_and_one_more_step_would_not_fit(
    model: DiffusionModel, clocked: Callable[[DiffusionModel], Clock],
    iterations: int, refresh: int, highest: int, step: float,
) -> None:  # fmt: skip
    content, references, matches = scene()
    config = configured(
        GuidanceConfig, steps=40, iterations=iterations, refresh=refresh,
        extras=configured(ExtrasConfig, highest_timestep=highest),
    )  # fmt: skip
    clock = clocked(model)
    began = clock.now

    def finish() -> Tensor:
        return model.decode(content.latent)

    steps = steps_within(60, finish, model, content, references, matches, config)
    assert 1 < steps < 40
    optimise(model, content, references, matches, replace(config, steps=steps))
    finish()
    assert 60 - step < clock.now - began <= 60


def test_updates_that_are_not_made_take_no_time(
    model: DiffusionModel, clocked: Callable[[DiffusionModel], Clock]
) -> None:
    content, references, matches = scene()
    config = configured(GuidanceConfig, steps=40, refresh=1, extras=configured(ExtrasConfig, updates=2))
    clocked(model)
    assert steps_within(30, lambda: None, model, content, references, matches, config) == 40


def test_a_long_budget_takes_all_steps_and_a_short_one_the_fewest(
    model: DiffusionModel, clocked: Callable[[DiffusionModel], Clock], caplog: pytest.LogCaptureFixture
) -> None:
    content, references, matches = scene()
    config = configured(GuidanceConfig, steps=5)
    clocked(model)
    chosen = [steps_within(seconds, lambda: None, model, content, references, matches, config) for seconds in (1000, 5)]
    assert chosen == [5, 1]
    assert "too little; it makes the fewest steps, 1" in caplog.text


def test_a_schedule_of_one_timestep_is_timed_too(
    model: DiffusionModel, clocked: Callable[[DiffusionModel], Clock]
) -> None:
    content, references, matches = scene()
    clocked(model)
    config = configured(GuidanceConfig, steps=1)
    assert steps_within(1000, lambda: None, model, content, references, matches, config) == 1


@pytest.mark.parametrize("iterations,refresh", [(1, 1), (1, 10), (3, 2)])
def test_a_gpu_that_replays_begins_slowly_and_takes_its_budget(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch, iterations: int, refresh: int
) -> None:
    """The first four updates and passes of pictures take 3 and 2 seconds, the others 1 and 0.5."""
    now = [100.0]

    def run(*given: Any) -> None:
        config, advance = given[4:]
        updates, passes = (itertools.chain(4 * [slow], itertools.repeat(fast)) for slow, fast in ((3, 1), (2, 0.5)))
        for number in range(len(guidance_timesteps(model, config))):
            if number % config.refresh == 0:
                now[0] += next(passes)
            for _ in range(config.iterations):
                now[0] += next(updates)
                advance()

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("stylegallery.extras.time_budget.optimise", run)
    monkeypatch.setattr(Execution, "on", lambda device: Execution(True, True))
    config = configured(GuidanceConfig, steps=100, iterations=iterations, refresh=refresh)
    began = now[0]
    steps = steps_within(90, lambda: None, model, *scene(), config)
    assert 5 < steps < 100
    run(model, *scene(), replace(config, steps=steps), lambda: None)
    assert 90 - iterations - 0.5 < now[0] - began <= 90


@pytest.mark.slow
@pytest.mark.parametrize("size", ["model", "content"])
def test_the_number_of_steps_that_a_budget_chose_gives_the_same_bytes(
    small: tuple[str, ...], pictures: Pictures, clocked: Callable[[DiffusionModel], Clock], size: str
) -> None:
    item = Item("a", pictures.content, (pictures.first, pictures.second))
    options = (*small, f"output_size={size}", "method.guidance.steps=40")
    gallery = StyleGallery.from_config(*options, "time_budget=80s")
    clock = clocked(gallery.model)
    began = clock.now
    limited = gallery.stylize(item, item_generator(0, item))
    assert 70 < clock.now - began <= 80
    assert limited.steps is not None and 1 < limited.steps < 40
    again = StyleGallery.from_config(*options, f"method.guidance.steps={limited.steps}")
    result = again.stylize(item, item_generator(0, item))
    assert torch.equal(result.image, limited.image) and result.energies == limited.energies
    assert result.steps == limited.steps


@pytest.mark.slow
def test_the_record_holds_the_steps(run_inside: RunInside, pictures: Pictures, tmp_path: Path) -> None:
    told = run_inside(*pictures.overrides(), "time_budget=1000s", f"out={tmp_path / 'out'}")
    record = load_record(tmp_path / "out")
    assert record.steps == 2 and record.config["time_budget"] == "1000s"
    assert re.search(r"steps +│ 2", told)


@pytest.mark.parametrize("value", ["soon", "-3", "30m", "0", "0s", "1000001s", "true", ".nan"])
def test_a_budget_that_is_no_time_is_refused(run_built: RunInside, pictures: Pictures, value: str) -> None:
    with pytest.raises(InputError, match=r"^method\.time_budget is .*; it should be seconds above 0 .*30s$"):
        run_built(*pictures.overrides(), f"time_budget={value}")


def test_a_method_without_a_schedule_of_its_own_says_so(fake_config: Callable[..., DictConfig]) -> None:
    with pytest.raises(InputError, match="leave out time_budget="):
        run.run(fake_config("time_budget=3"), Console())
