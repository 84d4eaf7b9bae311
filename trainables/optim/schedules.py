"""Learning-rate schedules. Each is a pure function of the step, so there is no state to save. It loads no PyTorch."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from trainables.config import TrialConfig


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    """A registered schedule."""

    multiplier: Callable[[int, int, int], float]
    """A function of the step, counted from 1, the warm-up steps, and the total number of steps (the horizon)."""
    needs_horizon: bool
    """Whether the learning rate at step s depends on the horizon, so that every step value is a trial of its own."""


def _warm_up(step: int, warmup_steps: int) -> float:
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


def _inverse_sqrt(step: int, warmup_steps: int, _: int) -> float:
    """Rise to 1 at the end of the warm-up, then fall with the root of the step.

    Vaswani et al. 2017, arXiv 1706.03762, eq. 3, up to a factor.
    """
    peak = max(1, warmup_steps)
    return min(step / peak, math.sqrt(peak / step))


SCHEDULES: dict[str, ScheduleEntry] = {
    "constant": ScheduleEntry(multiplier=lambda step, warmup, _: _warm_up(step, warmup), needs_horizon=False),
    "inverse_sqrt": ScheduleEntry(multiplier=_inverse_sqrt, needs_horizon=False),
    "linear": ScheduleEntry(
        multiplier=lambda step, warmup, horizon: _warm_up(step, warmup) * (horizon - step + 1) / horizon,
        needs_horizon=True,
    ),
    "cosine": ScheduleEntry(  # half a wave: Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5, without restarts
        multiplier=lambda step, warmup, horizon: (
            _warm_up(step, warmup) * (1 + math.cos(math.pi * (step - 1) / horizon)) / 2
        ),
        needs_horizon=True,
    ),
}


def learning_rate_at(step: int, config: TrialConfig, horizon: int | None) -> float:
    """Return the learning rate of a step.

    Args:
        step: counted from 1.
        config: of the trial.
        horizon: total steps; None is allowed for schedules that do not depend on it.
    """
    schedule = SCHEDULES[config.schedule]
    assert not schedule.needs_horizon or horizon is not None
    return config.learning_rate * schedule.multiplier(step, config.warmup_steps, horizon or 0)
