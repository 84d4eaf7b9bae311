"""A space for Optuna: suggests a point of it, and describes a point to a study."""

from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.branches import Varying, taken_branch, varying_values
from search_spaces.dimensions import Choice, Fixed, Integer, Real, Space, Value


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Value]:
    """Return a point of the space, by path, that an Optuna trial suggests. It is asked only for dimensions that exist
    at that point."""
    return varying_values(space, lambda path, dimension: _ask(trial, path, dimension))


def _ask(trial: optuna.Trial, path: str, dimension: Varying) -> Value:
    match dimension:
        case Real():
            return trial.suggest_float(path, dimension.low, dimension.high, log=dimension.log)
        case Integer():
            return trial.suggest_int(path, dimension.low, dimension.high, log=dimension.log)
        case Choice():
            value: Value = trial.suggest_categorical(path, [option for option, _ in dimension.options])
            return value


def distribution(dimension: Varying) -> BaseDistribution:
    """Return the Optuna distribution of one dimension."""
    match dimension:
        case Real():
            return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
        case Integer():
            return IntDistribution(dimension.low, dimension.high, log=dimension.log)
        case Choice():
            return CategoricalDistribution([value for value, _ in dimension.options])


def distributions(space: Space, point: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Return the distributions of the dimensions that exist at ``point``, by path."""
    return {
        visit.path: distribution(visit.dimension)
        for visit in taken_branch(space, lambda path, _: point[path])
        if not isinstance(visit.dimension, Fixed)
    }
