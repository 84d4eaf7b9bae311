"""Optuna's samplers, seeded anew for every proposal.

The points of a grid are in ``listed_points``, those of a quasi-random sequence in ``quasi_random``. The Gaussian
process, which needs a study of its own, is in ``gaussian_process``; CMA-ES, which learns from whole trials, in
``evolution_strategy``.
"""

import warnings
from collections.abc import Sequence

import optuna
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from orchestrator.spec import SearchConfig
from trainables.seeding import derive_seed

STEP_INDEX = "step_index"
"""Name of the dimension that says which point of the step axis an observation is of; every study has it."""


def study_sampler(search: SearchConfig, number: int, *, seed: int, niches_seed: int) -> BaseSampler:
    """Return the sampler of one proposal. A random one does for points known beforehand, and for random start-up.

    Args:
        search: the sampler's name and settings.
        number: of the proposal.
        seed: of this proposal alone.
        niches_seed: for all generations of the study.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match search.sampler:
            case "tpe" if number >= search.startup_trials:
                return TPESampler(seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True)
            case "nsga2":
                return _NSGA2(seed=seed, population_size=search.population_size)
            case "nsga3":
                return _NSGA3(seed=seed, niches_seed=niches_seed, population_size=search.population_size)
            case _:
                return RandomSampler(seed=seed)


def _by_number(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: trial.number)


class _NSGA2(NSGAIISampler):
    """NSGA-II whose parents always stand in the order of their trials.

    Optuna orders them by rank for the first trial of a generation and by number for the others, so that a rebuilt study
    would draw differently from the live one.
    """

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return _by_number(super().get_parent_population(study, generation))


class _NSGA3(NSGAIIISampler):
    """NSGA-III whose parents stand in the order of their trials, and are drawn by the generation alone.

    Optuna fills niches at random when the first trial of a generation asks, which in a rebuilt study is another trial
    with another seed. There are as many reference directions as members, as the algorithm's authors advise.
    """

    def __init__(self, *, seed: int, niches_seed: int, population_size: int) -> None:
        super().__init__(seed=seed, population_size=population_size, dividing_parameter=population_size - 1)
        self._niches_seed = niches_seed
        self._members = population_size

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return _by_number(super().get_parent_population(study, generation))

    def select_parent(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        members = self.get_population(study, generation - 1) + self.get_parent_population(study, generation - 1)
        seed = derive_seed(self._niches_seed, generation) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", RuntimeWarning)  # of a generation in which nothing was finite
            return _Niches(members, seed=seed, population_size=self._members).select_parent(study, generation)


class _Niches(NSGAIIISampler):
    """NSGA-III's selection among given members."""

    def __init__(self, members: list[FrozenTrial], *, seed: int, population_size: int) -> None:
        super().__init__(seed=seed, population_size=population_size, dividing_parameter=population_size - 1)
        self._members = members

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return self._members

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return []
