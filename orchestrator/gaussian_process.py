"""Proposals of Optuna's Gaussian process, made in a study of its own that holds what it can model, and no more.

It differs from the search's study in three ways. Every observation has a value for every dimension of the tree,
branches it did not take standing at their middle (imputation, as in Hutter et al. 2011, "Sequential model-based
optimization for general algorithm configuration"): Optuna's process sees only what all observations share, so that a
learning rate under a choice of optimizer would be drawn at random. What is infeasible is no worse than the worst that
is feasible: an infinite or exploded value would flatten all others. And it holds few observations, for a proposal's
time grows with their cube.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.pareto import nondominated
from orchestrator.samplers import STEP_INDEX, Candidate
from search_spaces import Space, all_dimensions, value_at
from search_spaces.optuna_space import distribution, suggest

OBSERVATIONS_MODELLED = 100
"""The Pareto set, and a random sample of the rest, drawn anew for each proposal (the "subset of data" of Rasmussen &
Williams 2006, section 8.3.3)."""


def propose(study: optuna.Study, space: Space, axis_length: int, *, seed: int) -> Candidate:
    """Propose the next trial after what ``study`` was told: a function of that and the seed, whatever the threads.

    Running trials count: what is expected of them is not expected a second time. While nothing is feasible the point is
    random: Optuna's process finds no point more promising than another then.
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
    """Choose the observations to model; give them, their values, and by how much each violates feasibility.

    -1 and 1 stand for feasible and infeasible, so that the process's guess in between is 0. Where nothing is
    infeasible there is nothing to learn of it.
    """
    values_N2 = np.array([trial.values for trial in told]).reshape(-1, 2)
    feasible_N = np.array([all(v <= 0 for v in trial.constraints.values()) for trial in told], dtype=bool)
    if not feasible_N.any():
        return [], [], []
    front = set(np.flatnonzero(feasible_N)[nondominated(values_N2[feasible_N])].tolist())
    order = rng.sample(range(len(told)), len(told))
    kept = sorted(sorted(order, key=lambda index: index not in front)[:OBSERVATIONS_MODELLED])
    worst_2 = values_N2[feasible_N].max(axis=0)
    tame_N2 = np.where(feasible_N[:, None], values_N2, np.minimum(values_N2, worst_2))
    is_constrained = not feasible_N[kept].all()
    violations = [{"feasible": -1.0 if feasible_N[i] else 1.0} if is_constrained else None for i in kept]
    return [told[index] for index in kept], tame_N2[kept].tolist(), violations


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Many small operations: more threads wait for each other, and round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
