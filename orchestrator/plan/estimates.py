"""The plan of a sweep: numbers of trials, steps and evaluations, and an estimate of the time."""

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.plan.metric_costs import MetricCost, metric_costs
from orchestrator.plan.overheads import NO_OVERHEADS, Overheads
from orchestrator.plan.set_summaries import SetSummary, summaries_of
from orchestrator.plan.training_time import TrainingTime, estimate_training
from orchestrator.preparation import count_sets
from orchestrator.search import grid_points, study_parts, trials_per_stratum
from orchestrator.spec import LISTING, ResourcesConfig, SweepSpec
from trainables.config import train_steps
from trainables.data import Sizes, training_examples
from trainables.deferred import Deferred
from trainables.optim import SCHEDULES, Horizon

if TYPE_CHECKING:
    from orchestrator.plan.step_times import StepTimes
    from orchestrator.preparation import SweepInputs

_count_gpus: Callable[[], int] = Deferred("torch.cuda", "device_count")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep will do, and how long that takes."""

    sweep: str
    strata: int
    replicates: int
    across: str
    """What one study searches: see ``search.across``."""
    studies: int
    trials_per_stratum: int | None
    """Number of trials, at most if there is a budget; None: as many as the budget allows."""
    trials: int | None
    models_to_train: int
    """Base and reference models; with ``data.match``, of as many rounds as it may take."""
    matches_sets: bool
    """Whether repetitions are still to be chosen (``data.match``): then fewer models may do."""
    training_steps: int | None
    """Optimizer steps of preparation, over all models; None: set sizes are not known."""
    step_values: int
    evaluations: int | None
    """Number of evaluations at most: a trial that ends early has fewer. None: the number of trials is not known."""
    ascent_steps: int | None
    """Number of ascent steps at most, within the budget, with the step axis shared along each trajectory."""
    separate_run_ascent_steps: int | None
    """Ascent steps of the same evaluations as separate runs, one for each step value."""
    schedule_depends_on_total: bool
    schedules_that_depend_on_total: list[str]
    """Schedules under which every step value is a separate trial from step 0, with one evaluation."""
    budget: dict[str, int | float | str]
    """Limits of the spec by name: ``max_steps_total``, ``max_gpu_hours``, ``max_wall``."""
    concurrent_trials: int | None
    metrics: tuple[MetricCost, ...]
    """The chosen metrics, with what each adds to an evaluation. Texts and gradients are not in the estimated times."""
    sets: tuple[SetSummary, ...]
    """Sizes of the sets and lengths of their examples; empty: not known."""
    timed_on: str | None
    """Device on which the steps behind the estimates were timed: ``cpu``, or the name of a GPU."""
    estimated_start_s: float | None
    """Time until the first model trains: libraries are imported; Ray and its workers start."""
    timed_in_part: bool | None
    """Whether whole steps took too long to be timed: the estimates follow from parts of them."""
    timing_spread: float | None
    """How far repeated timings of a step were from each other, as a share of their median; None: not known."""
    estimated_preparation_s: float | None
    """Time to train base and reference models, as if none were cached, and to measure them."""
    estimated_sweep_s: float | None
    """Time of all trials: ascent, evaluations, and the overhead of each trial."""
    estimated_evaluation_s: float | None
    """Part of ``estimated_sweep_s`` that evaluations take."""
    estimated_report_s: float | None
    estimated_total_s: float | None
    """Time of start, preparation, sweep and report, one after another."""
    estimated_gpu_hours: float | None
    """GPU-hours of preparation and all trials, at most: each worker is timed alone on a GPU and counted as a whole one;
    trials that share a GPU take less. 0 without GPUs."""
    estimated_cpu_hours: float | None

    @property
    def saving(self) -> float | None:
        """Factor by which separate runs, one for each step value, would take more ascent steps; None: not known."""
        if self.ascent_steps is None or self.separate_run_ascent_steps is None:
            return None
        return self.separate_run_ascent_steps / self.ascent_steps

    def as_json(self) -> dict[str, Any]:
        """Return plain data for ``--json``."""
        return {**asdict(self), "saving": self.saving}


def plan_sweep(
    spec: SweepSpec,
    *,
    concurrent_trials: int,
    inputs: "SweepInputs | None" = None,
    sizes: Sizes | None = None,
    times: "StepTimes | None" = None,
    overheads: Overheads | None = None,
    training_flops: float | None = None,
) -> Plan:
    """Return what a sweep will do, and how long it will take.

    Args:
        spec: the spec of the sweep.
        concurrent_trials: number of trials that run at once.
        inputs: tokenized inputs of the sweep; None: lengths of examples are not known.
        sizes: sizes of its sets, if there are no inputs; None: they are counted.
        times: times of its steps; None: nothing is estimated.
        overheads: what a run takes besides; None: left out.
        training_flops: floating-point operations of training the models of one replicate; None: not known.

    Raises:
        UnlearningError: sizes that are left to sources cannot be counted.
    """
    sizes = inputs.sizes if inputs is not None else sizes or count_sets(spec)
    per_stratum = trials_per_stratum(spec)
    counts = _counts(spec, per_stratum, len(spec.strata))
    models = _models(spec)
    training_steps = None
    if sizes is not None:
        training_steps = models * train_steps(training_examples(spec.data, sizes), spec.preparation)
    estimate = _Estimate()
    if times is not None and training_steps is not None:
        estimate = _estimated(
            spec,
            counts,
            times,
            overheads or NO_OVERHEADS,
            training=estimate_training(
                spec,
                models=models,
                alone_s=training_steps * times.training_step_s,
                at_once=concurrent_trials,
                flops=training_flops,
            ),
            at_once=concurrent_trials,
        )
    return Plan(
        sweep=spec.name,
        strata=len(spec.strata),
        replicates=spec.replicates,
        across=spec.search.across,
        studies=len(list(study_parts(spec))),
        trials_per_stratum=per_stratum,
        trials=counts.trials,
        models_to_train=models,
        matches_sets=spec.data.match is not None and not spec.data.match.settled,
        training_steps=training_steps,
        step_values=len(spec.steps),
        schedules_that_depend_on_total=sorted(
            name for name in spec.schedules if SCHEDULES[name].horizon is Horizon.FIXED
        ),
        evaluations=counts.evaluations,
        ascent_steps=counts.ascent_steps,
        separate_run_ascent_steps=counts.separate_run_ascent_steps,
        schedule_depends_on_total=spec.horizon is not Horizon.FREE,
        budget=spec.search.budget.model_dump(exclude_none=True),
        concurrent_trials=concurrent_trials,
        metrics=metric_costs(spec, sizes),
        sets=summaries_of(sizes, inputs) if sizes is not None else (),
        timed_on=times.device if times is not None else None,
        timed_in_part=times.cut_short if times is not None else None,
        timing_spread=times.spread if times is not None else None,
        **asdict(estimate),
        estimated_total_s=estimate.total_s,
    )


def _models(spec: SweepSpec) -> int:
    """Return the number of base and reference models, of all replicates; base models of every round of matching."""
    match = spec.data.match
    bases = 1 if match is None or match.settled else match.rounds
    return spec.replicates * (bases + spec.num_references)


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    """The estimates of a ``Plan``; None: nothing was timed, or the number of trials is not known."""

    estimated_start_s: float | None = None
    estimated_preparation_s: float | None = None
    estimated_sweep_s: float | None = None
    estimated_evaluation_s: float | None = None
    estimated_report_s: float | None = None
    estimated_gpu_hours: float | None = None
    estimated_cpu_hours: float | None = None

    @property
    def total_s(self) -> float | None:
        """Time of all parts, one after another; None: one of them is not known."""
        parts = (
            self.estimated_start_s, self.estimated_preparation_s, self.estimated_sweep_s, self.estimated_report_s,
        )  # fmt: skip
        return None if None in parts else sum(part for part in parts if part is not None)


def _estimated(
    spec: SweepSpec,
    counts: "_Counts",
    times: "StepTimes",
    overheads: Overheads,
    *,
    training: TrainingTime,
    at_once: int,
) -> _Estimate:
    resources = spec.resources
    worker = resources.worker_resources
    models = _models(spec)
    at_a_time = min(spec.replicates, at_once)  # the models of a replicate are measured one after another
    measuring_s = models / at_a_time * len(spec.data.unlearned) * times.evaluation_s
    found = _Estimate(
        estimated_start_s=overheads.start_s,
        estimated_preparation_s=training.elapsed_s + measuring_s + overheads.preparation_s,
        estimated_report_s=overheads.report_s,
    )
    if counts.typical is None:
        return found
    steps, evaluations, trials = counts.typical
    trials_s = steps * times.ascent_step_s + evaluations * times.evaluation_s
    evaluating_s = evaluations * (times.evaluation_s + overheads.evaluation_s) / at_once
    ascending_s = (steps * times.ascent_step_s + trials * overheads.trial_s) / at_once
    return replace(
        found,
        estimated_sweep_s=overheads.trials_start_s + ascending_s + evaluating_s,
        estimated_evaluation_s=evaluating_s,
        estimated_gpu_hours=(training.worker_s + trials_s * resources.workers_per_trial)
        * math.ceil(worker["GPU"])
        / 3600,
        estimated_cpu_hours=(training.worker_s * worker["CPU"] + trials_s * resources.cpus_per_trial) / 3600,
    )


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """What all trials do, at most; None: not known before the budget is spent."""

    trials: int | None
    evaluations: int | None
    ascent_steps: int | None
    separate_run_ascent_steps: int | None
    typical: tuple[int, int, int] | None
    """Ascent steps, evaluations and trials on which estimates rest: every trial walks its whole axis."""


def _counts(spec: SweepSpec, trials: int | None, strata: int) -> _Counts:
    """Return what a sweep does with this number of trials a stratum; None: as many as its budget allows."""
    limit = spec.search.budget.max_steps_total
    last, dependent = spec.steps[-1], spec.horizon is Horizon.FIXED
    steps_each = 1 if dependent else len(spec.steps)
    fitting = None if limit is None else limit // strata // last
    ascent_steps = None if trials is None else strata * trials * last
    if trials is not None and dependent and spec.search.sampler in LISTING:
        ascent_steps = strata * sum(spec.steps[index] for _, index in grid_points(spec)[:trials])
    if ascent_steps is None or (limit is not None and ascent_steps > limit):
        typical = (
            None if fitting is None else (strata * fitting * last, strata * fitting * steps_each, strata * fitting)
        )
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
        typical=(ascent_steps, evaluations, strata * trials),
    )


def fits_here(resources: ResourcesConfig) -> int:
    """Return how many trials fit this machine's CPUs, and its GPUs if it has any, at once; at least one."""
    fits = (os.cpu_count() or 1) / resources.cpus_per_trial
    if resources.gpus_per_trial and (gpus := _count_gpus()):
        fits = min(fits, gpus / resources.gpus_per_trial)
    return max(1, int(fits + 1e-9))
