"""What a sweep will cost, before it runs: trials, steps, evaluations, and an estimate of the time."""

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.listed_points import grid_points, trials_per_stratum
from orchestrator.search_config import LISTING
from orchestrator.spec import ResourcesConfig, SweepSpec
from trainables.config import ModelConfig, train_steps
from trainables.decks import sizes_of
from trainables.deferred import Deferred
from trainables.forget_sets import repetitions_of
from trainables.optimizers import SCHEDULES

if TYPE_CHECKING:
    from orchestrator.step_times import StepTimes

_is_encoder_decoder: Callable[[ModelConfig], bool] = Deferred("trainables.models", "is_encoder_decoder")
"""It loads Transformers: asked only where a source has to be looked into."""

_count_gpus: Callable[[], int] = Deferred("torch.cuda", "device_count")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep will do."""

    sweep: str
    strata: int
    trials_per_stratum: int | None
    """At most, where there is a budget; None: until it is spent."""
    trials: int | None
    models_to_train: int
    training_steps: int
    """Optimizer steps of preparation, all models."""
    step_values: int
    evaluations: int | None
    """At most: a trial that ends early has fewer. None: not known, as the number of trials."""
    ascent_steps: int | None
    """At most, with the step axis shared along each trajectory, and within the budget."""
    separate_run_ascent_steps: int | None
    """What the same evaluations would take as separate runs, one for each step value."""
    schedule_depends_on_total: bool
    schedules_that_depend_on_total: list[str]
    """Under these every step value is a trial of its own, from step 0, with one evaluation."""
    budget: dict[str, int | float | str]
    """The limits that the spec gives, by name: ``max_steps_total``, ``max_gpu_hours``, ``max_wall``."""
    concurrent_trials: int | None
    timed_on: str | None
    """Where the steps behind the estimates were timed: ``cpu``, or a GPU's name."""
    timed_in_part: bool | None
    """Whether whole steps took too long to be timed: the estimates follow from parts of them."""
    estimated_preparation_s: float | None
    estimated_sweep_s: float | None
    estimated_gpu_hours: float | None
    """What preparation and all trials take of GPUs, at most: each worker is timed alone on a GPU, and a whole one is
    counted for it; trials that share one take less. 0 where they have none."""
    estimated_cpu_hours: float | None

    @property
    def saving(self) -> float | None:
        """How many times fewer ascent steps than separate runs, trial by trial; None: not known."""
        if self.ascent_steps is None or self.separate_run_ascent_steps is None:
            return None
        return self.separate_run_ascent_steps / self.ascent_steps

    def as_json(self) -> dict[str, Any]:
        """Give plain data for ``--json``."""
        return {**asdict(self), "saving": self.saving}


def plan_sweep(spec: SweepSpec, *, concurrent_trials: int, times: "StepTimes | None" = None) -> Plan:
    """Count what a sweep will do; with ``times``, estimate how long it takes, and of how many GPUs and CPUs."""
    names = [f"{name}/{seed}" for name in spec.data.forget_sets for seed in spec.seeds]
    per_stratum = trials_per_stratum(spec)
    counts = _counts(spec, per_stratum, len(names))
    steps_each = train_steps(_training_examples(spec), spec.preparation)
    models = 1 + spec.preparation.references
    preparation_s = sweep_s = gpu_hours = cpu_hours = None
    if times is not None:
        resources = spec.resources
        worker = resources.worker_resources  # a model is trained on one worker's share
        model_s = steps_each * times.training_step_s
        preparation_s = -(-models // (concurrent_trials * resources.workers_per_trial)) * model_s
        if counts.typical is not None:
            trials_s = counts.typical[0] * times.ascent_step_s + counts.typical[1] * times.evaluation_s
            sweep_s = trials_s / concurrent_trials
            gpu_hours = (models * model_s + trials_s * resources.workers_per_trial) * math.ceil(worker["GPU"]) / 3600
            cpu_hours = (models * model_s * worker["CPU"] + trials_s * resources.cpus_per_trial) / 3600
    return Plan(
        sweep=spec.name,
        strata=len(names),
        trials_per_stratum=per_stratum,
        trials=counts.trials,
        models_to_train=models,
        training_steps=models * steps_each,
        step_values=len(spec.steps),
        schedules_that_depend_on_total=sorted(name for name in spec.schedules if SCHEDULES[name].needs_horizon),
        evaluations=counts.evaluations,
        ascent_steps=counts.ascent_steps,
        separate_run_ascent_steps=counts.separate_run_ascent_steps,
        schedule_depends_on_total=True in spec.looks_at_total,
        budget=spec.search.budget.model_dump(exclude_none=True),
        concurrent_trials=concurrent_trials,
        timed_on=times.device if times is not None else None,
        timed_in_part=times.cut_short if times is not None else None,
        estimated_preparation_s=preparation_s,
        estimated_sweep_s=sweep_s,
        estimated_gpu_hours=gpu_hours,
        estimated_cpu_hours=cpu_hours,
    )


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """What trials come to, at most; None: nobody knows before the budget is spent."""

    trials: int | None
    evaluations: int | None
    ascent_steps: int | None
    separate_run_ascent_steps: int | None
    typical: tuple[int, int] | None
    """Ascent steps and evaluations, if every trial walks its whole axis: what estimates are made of."""


def _counts(spec: SweepSpec, trials: int | None, strata: int) -> _Counts:
    """Count what a sweep of so many trials a stratum does, or as many as its budget allows."""
    limit = spec.search.budget.max_steps_total
    last, dependent = spec.steps[-1], spec.looks_at_total == {True}
    steps_each = 1 if dependent else len(spec.steps)
    fitting = None if limit is None else limit // strata // last
    ascent_steps = None if trials is None else strata * trials * last
    if trials is not None and dependent and spec.search.sampler in LISTING:
        ascent_steps = strata * sum(spec.steps[index] for _, index in grid_points(spec)[:trials])
    if ascent_steps is None or (limit is not None and ascent_steps > limit):
        typical = None if fitting is None else (strata * fitting * last, strata * fitting * steps_each)
        return _Counts(
            trials=strata * trials if trials is not None else None,
            evaluations=strata * trials * steps_each if trials is not None else None,
            ascent_steps=limit,
            separate_run_ascent_steps=None,
            typical=typical,
        )
    assert trials is not None
    evaluations = strata * trials * steps_each
    return _Counts(
        trials=strata * trials,
        evaluations=evaluations,
        ascent_steps=ascent_steps,
        separate_run_ascent_steps=ascent_steps if dependent else strata * trials * sum(spec.steps),
        typical=(ascent_steps, evaluations),
    )


def fits_here(resources: ResourcesConfig) -> int:
    """Count the trials that this machine's CPUs, and GPUs if it has any, hold at once; one at least."""
    fits = (os.cpu_count() or 1) / resources.cpus_per_trial
    if resources.gpus_per_trial and (gpus := _count_gpus()):
        fits = min(fits, gpus / resources.gpus_per_trial)
    return max(1, int(fits + 1e-9))


def _training_examples(spec: SweepSpec) -> int:
    sizes = sizes_of(spec.data, encoder_decoder=lambda: _is_encoder_decoder(spec.model))
    return sizes.retain + sum(
        own.distractors + sum(repetitions_of(spec.data.forget_sets[name], own.forget))
        for name, own in sizes.forget_sets.items()
    )
