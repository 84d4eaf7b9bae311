"""Optuna distributions out: suggest a point of a space, and describe a point to a study."""

from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.dimensions import Choice, Fixed, Integer, Real, Space, Value


def suggest(trial: optuna.Trial, space: Space, where: str = "") -> dict[str, Value]:
    """Ask an Optuna trial for a point of the space, by path. Only dimensions that exist at that point are asked for."""
    point: dict[str, Value] = {}
    for name, dimension in space.dimensions.items():
        path = where + name
        if isinstance(dimension, Fixed):
            continue
        point[path] = _ask(trial, path, dimension)
        if isinstance(dimension, Choice):
            point |= suggest(trial, dimension.subspace(point[path]), f"{path}={point[path]}/")
    return point


def _ask(trial: optuna.Trial, path: str, dimension: Real | Integer | Choice) -> Value:
    match dimension:
        case Real():
            return trial.suggest_float(path, dimension.low, dimension.high, log=dimension.log)
        case Integer():
            return trial.suggest_int(path, dimension.low, dimension.high, log=dimension.log)
        case Choice():
            value: Value = trial.suggest_categorical(path, [option for option, _ in dimension.options])
            return value


def distribution(dimension: Real | Integer | Choice) -> BaseDistribution:
    """Give the Optuna distribution of one dimension."""
    match dimension:
        case Real():
            return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
        case Integer():
            return IntDistribution(dimension.low, dimension.high, log=dimension.log)
        case Choice():
            return CategoricalDistribution([value for value, _ in dimension.options])


def distributions(space: Space, point: Mapping[str, Value], where: str = "") -> dict[str, BaseDistribution]:
    """Give the distributions of the dimensions that exist at ``point``, by path."""
    result: dict[str, BaseDistribution] = {}
    for name, dimension in space.dimensions.items():
        path = where + name
        if isinstance(dimension, Fixed):
            continue
        result[path] = distribution(dimension)
        if isinstance(dimension, Choice):
            result |= distributions(dimension.subspace(point[path]), point, f"{path}={point[path]}/")
    return result
