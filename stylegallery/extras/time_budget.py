"""Optional, not in the paper: as many timesteps as a time budget allows.

Steps are chosen before the first update counts: the run's first updates are made once for the clock and thrown away. So
`guidance.steps` of the chosen number, which the result's record holds, gives the same bytes without a budget. The
choice itself hangs on the machine and on what else it does: with a budget equal settings need not give equal bytes.
"""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from stylegallery.contract import Match
from stylegallery.errors import SettingsError
from stylegallery.files import notice
from stylegallery.guidance import GuidanceConfig, guidance_timesteps, optimise
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.optimisation import Execution
from stylegallery.replay import WARM_UPS
from stylegallery.segmentation import Segmentation


class Timed(Exception):
    """Enough updates were timed."""


def steps_within(
    seconds: float,
    finish: Callable[[], object],
    model: DiffusionModel,
    content: Segmentation,
    references: Sequence[Segmentation],
    matches: Sequence[Match],
    config: GuidanceConfig,
) -> int:
    """The most steps, `config.steps` or fewer, that `seconds` from now allow, with this call and `finish` in them.

    `finish` is what follows the last update. A budget too short for any step allows the fewest that leave a timestep.
    """
    start = time.perf_counter()
    finish()
    finishing = time.perf_counter() - start
    update, features, beginning = seconds_of(model, content, references, matches, config)
    left = seconds - finishing - beginning - (time.perf_counter() - start)
    steps = config.steps
    for fewer in range(config.steps, 0, -1):
        try:
            count = len(guidance_timesteps(model, replace(config, steps=fewer)))
        except SettingsError:  # all timesteps of so few steps are above the highest
            break
        steps = fewer
        updates = config.extras.most(count * config.iterations)
        passes = math.ceil(updates / (config.iterations * config.refresh))
        if updates * update + passes * features <= left:
            return steps
    notice(f"the time budget leaves {max(left, 0):.1f} s for stage 3, too little; it makes the fewest steps, {steps}")
    return steps


def seconds_of(
    model: DiffusionModel,
    content: Segmentation,
    references: Sequence[Segmentation],
    matches: Sequence[Match],
    config: GuidanceConfig,
) -> tuple[float, float, float]:
    """Seconds of an update, of the features of content and references at a timestep, and what a run's first updates
    take longer than others where later ones are replayed.

    The first update is also the first of its kind in the process and may be slow: the second of a timestep is timed,
    and from its end to that of the next timestep's first. Where there are replays, all of them have begun by then.
    """
    replayed = Execution.on(model.device).replayed
    slow = WARM_UPS + 1 if replayed else 1  # timesteps
    ends = [time.perf_counter()]

    def advance(*_: object, **__: object) -> None:
        ends.append(time.perf_counter())
        if len(ends) == 2 * slow + 2:
            raise Timed

    whole = replace(config.extras, patience=0, updates=None)
    timed = replace(config, iterations=2, refresh=1, extras=whole)
    with suppress(Timed):
        optimise(model, content, references, matches, timed, advance)
    took = [end - before for before, end in itertools.pairwise(ends)]
    whole_schedule = len(took) <= 2 * slow
    update, first = (took[-1], took[-2]) if whole_schedule else (took[-2], took[-1])
    features = max(0.0, first - update)
    usual = (2 * slow - 1) * update + slow * features
    return update, features, max(0.0, sum(took[: 2 * slow - 1]) - usual) if replayed else 0.0
