"""Optimizers and learning-rate schedules. A schedule is a pure function of the step, so it has no state to save."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from trainables.config import TrialConfig
from trainables.errors import UnlearningError, nearest_name_hint

Parameters = Iterable[torch.nn.Parameter]


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry:
    """How to build an optimizer, and which of the optional settings it has."""

    build: Callable[[Parameters, TrialConfig], torch.optim.Optimizer]
    settings: frozenset[str]


def _sgd(parameters: Parameters, config: TrialConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )


def _adamw(parameters: Parameters, config: TrialConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(build=_sgd, settings=frozenset({"momentum", "weight_decay"})),
    "adamw": OptimizerEntry(build=_adamw, settings=frozenset({"weight_decay"})),
}


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    """A learning-rate multiplier of (step from 1, warm-up steps, horizon), and whether it looks at the horizon."""

    multiplier: Callable[[int, int, int], float]
    needs_horizon: bool
    """True: the state at step s depends on the total number of steps, so every step value is its own trial."""


def _warm_up(step: int, warmup_steps: int) -> float:
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


SCHEDULES: dict[str, ScheduleEntry] = {
    "constant": ScheduleEntry(multiplier=lambda step, warmup, _: _warm_up(step, warmup), needs_horizon=False),
    "linear": ScheduleEntry(
        multiplier=lambda step, warmup, horizon: _warm_up(step, warmup) * (horizon - step + 1) / horizon,
        needs_horizon=True,
    ),
}


def check_optimizer(config: TrialConfig) -> None:
    """Check the optimizer's and the schedule's names, and that every setting given is one the optimizer has.

    Raises:
        UnlearningError: naming what is allowed.
    """
    if config.optimizer not in OPTIMIZERS:
        raise UnlearningError(
            f"unknown optimizer '{config.optimizer}'; {nearest_name_hint(config.optimizer, OPTIMIZERS)}"
        )
    if config.schedule not in SCHEDULES:
        raise UnlearningError(f"unknown schedule '{config.schedule}'; {nearest_name_hint(config.schedule, SCHEDULES)}")
    for setting in ("momentum", "weight_decay"):
        if getattr(config, setting) and setting not in OPTIMIZERS[config.optimizer].settings:
            raise UnlearningError(f"optimizer '{config.optimizer}' has no '{setting}'; leave it out")


def build_optimizer(parameters: Parameters, config: TrialConfig) -> torch.optim.Optimizer:
    """Build the optimizer of a trial over ``parameters``."""
    check_optimizer(config)
    return OPTIMIZERS[config.optimizer].build(parameters, config)


def learning_rate_at(step: int, config: TrialConfig, horizon: int | None) -> float:
    """Give the learning rate of a step, counted from 1; ``horizon`` is needed by schedules that look at it."""
    schedule = SCHEDULES[config.schedule]
    assert not schedule.needs_horizon or horizon is not None
    return config.learning_rate * schedule.multiplier(step, config.warmup_steps, horizon or 0)
