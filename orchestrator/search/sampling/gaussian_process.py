"""Proposals of Optuna's Gaussian process, made in a study of its own that holds only what it can model.

That study differs from the search's in three ways. Every observation has a value for every dimension of the tree,
branches it did not take standing at their middle (imputation, as in Hutter et al. 2011, "Sequential model-based
optimization for general algorithm configuration"): Optuna's process sees only what all observations share, so that a
learning rate under a choice of optimizer would be drawn at random. What collapsed or diverged is no worse than the
worst that did not: an infinite or exploded value would flatten all others. And it holds few observations, since the
time of a proposal grows with their cube.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import optuna
import torch
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.pareto import Numbers, nondominated
from orchestrator.search.sampling.constraints import FEASIBLE, total_violation
from orchestrator.search.sampling.listed_points import Candidate
from orchestrator.search.sampling.samplers import STEP_INDEX
from search_spaces import Space, all_dimensions, distribution, suggest, value_at

OBSERVATIONS_MODELLED = 100
"""Observations that are modelled: the Pareto set, and a random sample of the rest, drawn anew for each proposal (the
"subset of data" of Rasmussen & Williams 2006, section 8.3.3)."""


def propose(study: optuna.Study, space: Space, axis_length: int, *, seed: int) -> Candidate:
    """Return the next proposal: a function of what ``study`` was told and the seed, whatever the number of threads.

    Running trials count: what is expected of them is not expected a second time. While every observation has collapsed
    or diverged the point is random, since no point is more promising than another to Optuna's process.
    """
    dimensions = dict(all_dimensions(space))
    tree: dict[str, BaseDistribution] = {path: distribution(each) for path, each in dimensions.items()}
    tree[STEP_INDEX] = IntDistribution(0, axis_length - 1)
    middle = {path: value_at(each, 0.5) for path, each in dimensions.items()}
    trials = study.get_trials(deepcopy=False)
    told = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    kept, values, violations = _modelled(told, random.Random(seed))  # noqa: S311  # no secret
    sampler = GPSampler(seed=seed % 2**32, n_startup_trials=1, warn_independent_sampling=False)
    model = optuna.create_study(directions=study.directions, sampler=sampler)
    model.add_trials(
        create_trial(values=value, params=middle | trial.params, distributions=tree, constraints=violation)
        for trial, value, violation in zip(kept, values, violations, strict=True)
    )
    model.add_trials(
        create_trial(state=TrialState.RUNNING, params=middle | trial.params, distributions=tree) for trial in running
    )
    with _one_torch_thread():
        asked = model.ask()
        point = suggest(asked, space)
        return point, asked.suggest_int(STEP_INDEX, 0, axis_length - 1)


def _modelled(
    told: Sequence[FrozenTrial], rng: random.Random
) -> tuple[list[FrozenTrial], list[list[float]], list[dict[str, float] | None]]:
    """Return the observations to model, their values, and by how much each violates which constraint.

    An observation is sound if it neither collapsed nor diverged. As a constraint that is -1 (sound) or 1, so that the
    process's guess in between is 0; where all are sound the constraint is left out. The excess over a bound is given in
    its unit; that of an observation which is not sound is at most that of the worst sound one.
    """
    sound_N = np.array([trial.constraints[FEASIBLE] <= 0 for trial in told], dtype=bool)
    if not sound_N.any():
        return [], [], []
    values_NO = np.array([trial.values for trial in told])
    feasible_N = np.array([total_violation(trial.constraints) == 0 for trial in told], dtype=bool)
    front = set(np.flatnonzero(feasible_N)[_best(values_NO[feasible_N])].tolist())
    order = rng.sample(range(len(told)), len(told))
    kept = sorted(sorted(order, key=lambda index: index not in front)[:OBSERVATIONS_MODELLED])
    violations: list[dict[str, float]] = [{} for _ in kept]
    if not sound_N[kept].all():
        violations = [{FEASIBLE: -1.0 if sound_N[i] else 1.0} for i in kept]
    for name in sorted(told[0].constraints.keys() - {FEASIBLE}):
        excess_N1 = _tamed(np.array([[trial.constraints[name]] for trial in told]), sound_N)
        violations = [known | {name: float(excess_N1[i, 0])} for i, known in zip(kept, violations, strict=True)]
    return [told[index] for index in kept], _tamed(values_NO, sound_N)[kept].tolist(), [v or None for v in violations]


def _tamed(numbers_NK: Numbers, sound_N: npt.NDArray[np.bool_]) -> Numbers:
    """Return the numbers with no unsound row worse than the worst sound one, column by column."""
    worst_K = numbers_NK[sound_N].max(axis=0)
    return np.where(sound_N[:, None], numbers_NK, np.minimum(numbers_NK, worst_K))


def _best(values_NO: Numbers) -> npt.NDArray[np.intp]:
    """Return the indices of the frontier, or with one objective of the best."""
    if values_NO.shape[1] == 1:
        return np.flatnonzero(values_NO[:, 0] == values_NO[:, 0].min(initial=np.inf))[:1]
    return nondominated(values_NO)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Use one thread: for many small operations more are slower, and round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
