"""Typed dimensions: what may vary, and how. Knows neither YAML nor Optuna.

A space is a tree: a ``Choice`` may open a sub-space under one of its values, whose dimensions exist only there. A
dimension's *path* names where it stands (``optimizer=sgd/learning_rate``), so that equal names under different values
stay different dimensions; its *name* (``learning_rate``) is the setting it sets.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool | None


class SpaceError(ValueError):
    """A user's mistake in a search space: the message says where, what was found and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """A setting that does not vary."""

    value: Value


@dataclass(frozen=True, kw_only=True)
class Real:
    """A real number in [low, high], uniform or log-uniform. ``grid_points`` is how finely a grid cuts it."""

    low: float
    high: float
    log: bool = False
    grid_points: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SpaceError(f"a range needs low < high, both finite; found low {self.low}, high {self.high}")
        if self.log and self.low <= 0:
            raise SpaceError(f"a log range needs low > 0; found {self.low}")
        if self.grid_points is not None and self.grid_points < 2:
            raise SpaceError(f"grid_points must be at least 2; found {self.grid_points}")


@dataclass(frozen=True, kw_only=True)
class Integer:
    """An integer in [low, high], uniform or log-uniform."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise SpaceError(f"a range needs low < high; found low {self.low}, high {self.high}")
        if self.log and self.low <= 0:
            raise SpaceError(f"a log range needs low > 0; found {self.low}")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values, each with the sub-space that exists only under it."""

    options: tuple[tuple[Value, "Space"], ...]

    def __post_init__(self) -> None:
        values = [value for value, _ in self.options]
        if not values:
            raise SpaceError("a choice needs at least one value")
        if len(set(values)) < len(values):
            raise SpaceError(f"a choice names a value twice: {values}")

    def subspace(self, value: Value) -> "Space":
        """Give the sub-space under one value."""
        return next(space for option, space in self.options if option == value)


Dimension = Fixed | Real | Integer | Choice


@dataclass(frozen=True)
class Space:
    """Named dimensions, in a fixed order."""

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)

    def is_fixed(self) -> bool:
        """Tell whether there is nothing to search."""
        return all(isinstance(dimension, Fixed) for dimension in self.dimensions.values())


def grid_values(dimension: Real | Integer, where: str) -> list[Value]:
    """List a range's grid points.

    Raises:
        SpaceError: a real range has no ``grid_points``.
    """
    if isinstance(dimension, Integer):
        return list(range(dimension.low, dimension.high + 1))
    if dimension.grid_points is None:
        raise SpaceError(f"{where}: a grid needs 'grid_points' on a range, or a list of values instead of a range")
    low, high = (
        (math.log(dimension.low), math.log(dimension.high)) if dimension.log else (dimension.low, dimension.high)
    )
    cuts = [low + (high - low) * i / (dimension.grid_points - 1) for i in range(dimension.grid_points)]
    inner = [math.exp(cut) if dimension.log else cut for cut in cuts[1:-1]]
    return [dimension.low, *inner, dimension.high]


def grid(space: Space, where: str = "") -> Iterator[dict[str, Value]]:
    """Enumerate every point of the grid over a space, by path, the last dimension fastest."""
    names = list(space.dimensions)
    if not names:
        yield {}
        return
    name, rest = names[0], Space({other: space.dimensions[other] for other in names[1:]})
    for head in _grid_of_one(space.dimensions[name], where + name):
        for tail in grid(rest, where):
            yield head | tail


def grid_size(space: Space, where: str = "") -> int:
    """Count the points of the grid over a space, without listing them.

    Raises:
        SpaceError: a real range has no ``grid_points``.
    """
    return math.prod(_size(dimension, where + name) for name, dimension in space.dimensions.items())


def _size(dimension: Dimension, path: str) -> int:
    match dimension:
        case Fixed():
            return 1
        case Choice():
            return sum(grid_size(subspace, f"{path}={value}/") for value, subspace in dimension.options)
        case Integer():
            return dimension.high - dimension.low + 1
        case _:
            return len(grid_values(dimension, path))


def combinations(space: Space) -> int:
    """Count the combinations of choices in a space: ``corners`` has three of each."""
    return grid_size(_pinned(space, 0.0))


def _grid_of_one(dimension: Dimension, path: str) -> Iterator[dict[str, Value]]:
    match dimension:
        case Fixed():
            yield {}
        case Choice():
            for value, subspace in dimension.options:
                for inner in grid(subspace, f"{path}={value}/"):
                    yield {path: value, **inner}
        case _:
            for value in grid_values(dimension, path):
                yield {path: value}


def corners(space: Space, where: str = "") -> Iterator[dict[str, Value]]:
    """Enumerate, for every combination of choices, the low ends, the high ends and an inner point of all ranges.

    Validate these before a trial is proposed. The inner point is no round number, so a whole-number setting refuses it.
    """
    for share in (0.0, 1.0, 0.618034):
        yield from grid(_pinned(space, share), where)


def _pinned(space: Space, share: float) -> Space:
    """Put every range at one share of its way from low to high."""
    return Space({name: _pinned_one(dimension, share) for name, dimension in space.dimensions.items()})


def _pinned_one(dimension: Dimension, share: float) -> Dimension:
    match dimension:
        case Choice():
            return Choice(options=tuple((value, _pinned(subspace, share)) for value, subspace in dimension.options))
        case Real():
            inner = dimension.low + share * (dimension.high - dimension.low)
            return Choice(options=((min(inner, dimension.high), Space()),))
        case Integer():
            return Choice(options=((dimension.low + round(share * (dimension.high - dimension.low)), Space()),))
        case Fixed():
            return dimension


def settings(space: Space, point: Mapping[str, Value], where: str = "") -> dict[str, Value]:
    """Turn a point (by path) into settings (by name): fixed ones included, sub-spaces flattened."""
    result: dict[str, Value] = {}
    for name, dimension in space.dimensions.items():
        path = where + name
        if isinstance(dimension, Fixed):
            result[name] = dimension.value
            continue
        result[name] = point[path]
        if isinstance(dimension, Choice):
            result |= settings(dimension.subspace(point[path]), point, f"{path}={point[path]}/")
    return result


def repeated_settings(space: Space) -> dict[str, list[str]]:
    """Find settings that one point could give twice, by name, each with its paths: their order would decide."""
    found: dict[str, list[str]] = {}
    places: dict[str, list[tuple[str, dict[str, Value]]]] = {}
    for name, path, taken in _places(space, "", {}):
        for other, other_taken in places.setdefault(name, []):
            if all(other_taken.get(choice, value) == value for choice, value in taken.items()):
                found[name] = list(dict.fromkeys([*found.get(name, []), other, path]))
        places[name].append((path, taken))
    return found


def _places(space: Space, where: str, taken: dict[str, Value]) -> Iterator[tuple[str, str, dict[str, Value]]]:
    """Name every setting of a space with its path, and the choices under which it exists."""
    for name, dimension in space.dimensions.items():
        path = where + name
        yield name, path, taken
        if isinstance(dimension, Choice):
            for value, subspace in dimension.options:
                yield from _places(subspace, f"{path}={value}/", {**taken, path: value})


def contains(space: Space, point: Mapping[str, Value]) -> bool:
    """Tell whether a point (by path) is one of the space: no dimension too few or too many, each value allowed."""
    return _remainder(space, dict(point), "") == {}


def _remainder(space: Space, point: dict[str, Value], where: str) -> dict[str, Value] | None:
    """Take the space's dimensions out of the point and give what is left; None: one is missing, or not allowed."""
    left: dict[str, Value] | None = point
    for name, dimension in space.dimensions.items():
        if isinstance(dimension, Fixed):
            continue
        path = where + name
        if left is None or path not in left:
            return None
        value = left.pop(path)
        match dimension:
            case Choice():
                if value not in [option for option, _ in dimension.options]:
                    return None
                left = _remainder(dimension.subspace(value), left, f"{path}={value}/")
            case Real() | Integer():
                if isinstance(value, str | None) or not dimension.low <= value <= dimension.high:
                    return None
                if isinstance(dimension, Integer) and value != int(value):
                    return None
    return left
