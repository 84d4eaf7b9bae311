"""Who proposes: the points of a grid and of a quasi-random sequence by number, and Optuna's samplers, seeded anew.

The Gaussian process, which needs a study of its own, is in ``orchestrator.gaussian_process``.
"""

import warnings

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from scipy.stats import qmc

from orchestrator.spec import SearchConfig, SweepSpec
from search_spaces import Space, Value, all_dimensions, grid, point_at

STEP_INDEX = "step_index"
"""A study's own dimension: which point of the step axis an observation is of."""

Candidate = tuple[dict[str, Value], int]
"""A point of the space, and the index on the step axis of how far to go."""


def grid_points(spec: SweepSpec) -> list[Candidate]:
    """List a grid's points; the step axis is one of its dimensions only where the schedule depends on the total.

    It is the slowest one, so that a longer axis appends to the list.
    """
    indices = range(len(spec.steps)) if spec.horizons_per_point > 1 else [len(spec.steps) - 1]
    return [(point, index) for index in indices for point in grid(spec.space)]


def quasi_random_point(space: Space, axis_length: int, *, seed: int, number: int) -> Candidate:
    """Give one point of a scrambled Sobol sequence (Owen 1998, "Scrambling Sobol' and Niederreiter-Xing points").

    Optuna's own QMCSampler counts in the study and takes its space from the first trial; here a point is a function of
    seed and number. Every dimension of every branch has a coordinate, so a branch's points are a part of the sequence.
    """
    paths = [path for path, _ in all_dimensions(space)]
    sequence = qmc.Sobol(len(paths) + 1, scramble=True, rng=seed)
    if number:  # SciPy refuses to go forward by 0
        sequence.fast_forward(number)
    *shares, how_far = sequence.random(1)[0].tolist()
    return point_at(space, dict(zip(paths, shares, strict=True))), int(how_far * axis_length)


def study_sampler(search: SearchConfig, number: int, *, seed: int) -> BaseSampler:
    """Make the sampler of one proposal. What is known beforehand, and random start-up, need no more than a random one.

    Args:
        search: names the sampler, and its settings.
        number: the proposal's.
        seed: of this proposal alone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match search.sampler:
            case "tpe" if number >= search.startup_trials:
                return TPESampler(seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True)
            case "nsga2":
                return _NSGA2(seed=seed, population_size=search.population_size)
            case _:
                return RandomSampler(seed=seed)


class _NSGA2(NSGAIISampler):
    """NSGA-II whose parents always stand in the order of their trials.

    Optuna gives them by rank to the first trial of a generation and by number to the others, so that a rebuilt study
    would draw otherwise than the live one.
    """

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[optuna.trial.FrozenTrial]:
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)
