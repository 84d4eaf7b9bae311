"""Proposals of CMA-ES (Hansen & Ostermeier 2001; Hansen 2016, arXiv 1604.00772), from what a study was told.

Optuna's own CMA-ES keeps its state pickled in trials' attributes, and takes every observation for an independent draw.
Here the strategy is built anew for each proposal by feeding it the history in order, and learns one value from each
trial: the best of its trajectory. It is told ranks, which are all that CMA-ES looks at: feasible trials come before
infeasible ones, and those are ranked by their total violation (Deb 2000, "An efficient constraint handling method for
genetic algorithms").
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import optuna
from cmaes import CMA
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.sampling.constraints import total_violation
from orchestrator.search.sampling.listed_points import Candidate
from orchestrator.search.sampling.samplers import STEP_INDEX
from search_spaces import Choice, Space, all_dimensions, point_at, share_of
from trainables.optim import Horizon

_START_SIGMA = 0.3
"""As a share of the whole range: Hansen's advice where nothing is known of the optimum."""

Key = tuple[float, float]
"""How good an observation is: its violation, then its value. Lower is better."""


def propose(study: optuna.Study, space: Space, axis_length: int, *, horizon: Horizon, seed: int) -> Candidate:
    """Return the next proposal. Running trials, and those of an unfinished population, do not count yet.

    Args:
        study: it has one objective.
        space: it has ranges only.
        axis_length: points of the step axis.
        horizon: if it is fixed, each step value is a trial of its own and how far to go is a dimension; if it is free,
            trials go to the end.
        seed: of this proposal alone.
    """
    paths = [path for path, _ in all_dimensions(space)]
    searches_axis = horizon is not Horizon.FREE
    axes = len(paths) + searches_axis
    strategy = CMA(
        mean=np.full(axes, 0.5),
        sigma=_START_SIGMA,
        bounds=np.tile([0.0, 1.0], (axes, 1)),
        seed=seed % 2**32,
    )
    told = _ended(study.get_trials(deepcopy=False), space, axis_length, searches_axis=searches_axis)
    size = strategy.population_size
    for start in range(0, len(told) - size + 1, size):
        population = told[start : start + size]
        order = sorted({key for _, key in population})
        strategy.tell([(shares, float(order.index(key))) for shares, key in population])
    shares = np.minimum(strategy.ask(), np.nextafter(1.0, 0.0)).tolist()
    step_index = int(shares[-1] * axis_length) if searches_axis else axis_length - 1
    return point_at(space, dict(zip(paths, shares, strict=False))), step_index


def _ended(
    trials: Sequence[FrozenTrial], space: Space, axis_length: int, *, searches_axis: bool
) -> list[tuple[npt.NDArray[np.float64], Key]]:
    """Return each ended trial's place in the cube and its best observation, in order of proposal."""
    by_settings: dict[tuple[float, ...], list[FrozenTrial]] = {}
    dimensions = {path: ranged for path, ranged in all_dimensions(space) if not isinstance(ranged, Choice)}
    for trial in trials:
        names = [*dimensions, STEP_INDEX] if searches_axis else list(dimensions)
        by_settings.setdefault(tuple(trial.params[name] for name in names), []).append(trial)
    ended = []
    for settings, observed in by_settings.items():
        keys = [_key(trial) for trial in observed if trial.state is TrialState.COMPLETE]
        if keys and not any(trial.state is TrialState.RUNNING for trial in observed):
            shares = [share_of(d, value) for d, value in zip(dimensions.values(), settings, strict=False)]
            if searches_axis:
                shares.append((observed[0].params[STEP_INDEX] + 0.5) / axis_length)
            ended.append((np.array(shares), min(keys)))
    return ended


def _key(trial: FrozenTrial) -> Key:
    assert trial.value is not None
    return total_violation(trial.constraints), trial.value
