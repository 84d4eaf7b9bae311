"""The grid over a space: its points, their number, and the corners that are checked before anything runs."""

import math
from collections.abc import Iterator

from search_spaces.dimensions import Choice, Dimension, Fixed, Integer, Real, Space, SpaceError, Value


def grid_values(dimension: Real | Integer, where: str) -> list[Value]:
    """Return a range's grid points.

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
    """Yield every point of the grid over a space, by path; the last dimension varies fastest."""
    names = list(space.dimensions)
    if not names:
        yield {}
        return
    name, rest = names[0], Space({other: space.dimensions[other] for other in names[1:]})
    for head in _grid_of_one(space.dimensions[name], where + name):
        for tail in grid(rest, where):
            yield head | tail


def grid_size(space: Space, where: str = "") -> int:
    """Return the number of points of the grid over a space, without listing them.

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
    """Return the number of combinations of choices in a space; ``corners`` yields three points of each."""
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
    """Yield, for every combination of choices, the low ends, the high ends and an inner point of all ranges.

    They are validated before a trial is proposed. The inner point is no round number, so that a setting which must be
    whole refuses it.
    """
    for share in (0.0, 1.0, 0.618034):
        yield from grid(_pinned(space, share), where)


def _pinned(space: Space, share: float) -> Space:
    """Return the space with every range reduced to the value at one share of its way from low to high."""
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
