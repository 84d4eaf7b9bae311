"""Optimizers and learning-rate schedules. A schedule is a pure function of the step, so it has no state to save.

To add an optimizer: its settings in ``optimizer_settings``, what makes it in ``optimizer_builders``, and one entry
here. Nothing here loads PyTorch: that is imported when an optimizer is first built.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from trainables.config import Config, TrialConfig, problems_in
from trainables.deferred import Deferred
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.optim.settings import (
    AdafactorSettings,
    AdamWSettings,
    LionSettings,
    SGDSettings,
    SOAPSettings,
    SophiaSettings,
)

if TYPE_CHECKING:
    import torch

Parameters = Iterable["torch.nn.Parameter"]


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry:
    """How to build an optimizer over parameters with a learning rate and its settings, and where it comes from."""

    build: Callable[[Parameters, float, Any], "torch.optim.Optimizer"]
    settings: type[Config]
    source: str
    works_on_shards: bool
    """Whether it gives the same numbers where each worker has a shard of every tensor (``parallelism: fsdp``)."""

    @property
    def own_settings(self) -> frozenset[str]:
        """Names of the settings that stand in ``TrialConfig.optimizer_settings``."""
        return frozenset(self.settings.model_fields) - set(TrialConfig.model_fields)


def _builder(name: str) -> Deferred:
    return Deferred("trainables.optim.builders", name)


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(
        build=_builder("sgd"),
        settings=SGDSettings,
        source="torch.optim.SGD; Robbins & Monro 1951",
        works_on_shards=True,
    ),
    "adamw": OptimizerEntry(
        build=_builder("adamw"),
        settings=AdamWSettings,
        source="torch.optim.AdamW; Loshchilov & Hutter 2019, arXiv 1711.05101",
        works_on_shards=True,
    ),
    "adafactor": OptimizerEntry(
        build=_builder("adafactor"),
        settings=AdafactorSettings,
        source="torch.optim.Adafactor; Shazeer & Stern 2018, arXiv 1804.04235",
        works_on_shards=False,
    ),
    "lion": OptimizerEntry(
        build=_builder("lion"),
        settings=LionSettings,
        source="pytorch_optimizer.Lion; Chen et al. 2023, arXiv 2302.06675",
        works_on_shards=True,
    ),
    "sophia": OptimizerEntry(
        build=_builder("sophia"),
        settings=SophiaSettings,
        source="pytorch_optimizer.SophiaH, fed by Gauss-Newton-Bartlett estimates; Liu et al. 2023, arXiv 2305.14342; "
        "for unlearning: Jia et al. 2024, arXiv 2404.18239",
        works_on_shards=True,
    ),
    "soap": OptimizerEntry(
        build=_builder("soap"),
        settings=SOAPSettings,
        source="pytorch_optimizer.SOAP; Vyas et al. 2024, arXiv 2409.11321",
        works_on_shards=False,
    ),
}


class Horizon(StrEnum):
    """Whether learning rates depend on the total number of steps, the horizon."""

    FREE = "free"
    """No: the state at a step is that of every longer trial, so one trial serves all step values."""
    FIXED = "fixed"
    """Yes: every step value is a trial of its own."""
    MIXED = "mixed"
    """Of a sweep whose trials may have schedules of both kinds."""


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    """A learning-rate multiplier of (step from 1, warm-up steps, horizon), and whether it depends on the horizon."""

    multiplier: Callable[[int, int, int], float]
    horizon: Horizon
    """``FREE`` or ``FIXED``."""


def _warm_up(step: int, warmup_steps: int) -> float:
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


def _inverse_sqrt(step: int, warmup_steps: int, _: int) -> float:
    """Rise to 1 at the end of the warm-up, then fall with the root of the step (Vaswani et al. 2017, eq. 3)."""
    peak = max(1, warmup_steps)
    return min(step / peak, math.sqrt(peak / step))


SCHEDULES: dict[str, ScheduleEntry] = {
    "constant": ScheduleEntry(multiplier=lambda step, warmup, _: _warm_up(step, warmup), horizon=Horizon.FREE),
    "inverse_sqrt": ScheduleEntry(multiplier=_inverse_sqrt, horizon=Horizon.FREE),
    "linear": ScheduleEntry(
        multiplier=lambda step, warmup, horizon: _warm_up(step, warmup) * (horizon - step + 1) / horizon,
        horizon=Horizon.FIXED,
    ),
    "cosine": ScheduleEntry(  # half a wave, as Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5 without restarts
        multiplier=lambda step, warmup, horizon: (
            _warm_up(step, warmup) * (1 + math.cos(math.pi * (step - 1) / horizon)) / 2
        ),
        horizon=Horizon.FIXED,
    ),
}


def check_optimizer(config: TrialConfig) -> Config:
    """Check the optimizer's and the schedule's names, and that it has every setting given, with that value.

    Returns:
        All settings of the optimizer.

    Raises:
        UnlearningError: naming what is allowed.
    """
    if config.optimizer not in OPTIMIZERS:
        raise UnlearningError(
            f"unknown optimizer '{config.optimizer}'; {nearest_name_hint(config.optimizer, OPTIMIZERS)}"
        )
    if config.schedule not in SCHEDULES:
        raise UnlearningError(f"unknown schedule '{config.schedule}'; {nearest_name_hint(config.schedule, SCHEDULES)}")
    known = OPTIMIZERS[config.optimizer].settings
    fields = {name: getattr(config, name) for name in ("momentum", "weight_decay")}
    given = {name: value for name, value in fields.items() if value} | config.optimizer_settings
    for name in given:
        if name not in known.model_fields:
            having = sorted(other for other, entry in OPTIMIZERS.items() if name in entry.settings.model_fields)
            hint = nearest_name_hint(name, known.model_fields)
            if having:
                hint = f"{', '.join(having)} {'has' if len(having) == 1 else 'have'} it; {hint}"
            raise UnlearningError(f"optimizer '{config.optimizer}' has no '{name}'; {hint}")
    try:
        return known(**given)
    except ValidationError as error:
        wrong = "; ".join(problems_in(error.errors()))
        raise UnlearningError(f"optimizer '{config.optimizer}': {wrong}") from None


def build_optimizer(parameters: Parameters, config: TrialConfig) -> "torch.optim.Optimizer":
    """Build the optimizer of a trial over those of ``parameters`` that are trained."""
    settings = check_optimizer(config)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return OPTIMIZERS[config.optimizer].build(trained, config.learning_rate, settings)


def learning_rate_at(step: int, config: TrialConfig, horizon: int | None) -> float:
    """Return the learning rate of a step, counted from 1; schedules of a fixed horizon need ``horizon``, in steps."""
    schedule = SCHEDULES[config.schedule]
    assert schedule.horizon is Horizon.FREE or horizon is not None
    return config.learning_rate * schedule.multiplier(step, config.warmup_steps, horizon or 0)
