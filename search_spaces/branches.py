"""Walks of a space: along the branch that a point takes, and over all branches.

Everything that turns a point into something else, or something else into a point, is made of the first.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from search_spaces.dimensions import Choice, Dimension, Fixed, Integer, Real, Space, Value

Varying = Real | Integer | Choice
"""A dimension that has a value in every point of its branch."""


class Visit(NamedTuple):
    """One dimension of the branch that is taken."""

    name: str
    path: str
    dimension: Dimension
    value: Value


def taken_branch(space: Space, choose: Callable[[str, Varying], Value], where: str = "") -> Iterator[Visit]:
    """Yield the dimensions that exist at one point, in order, with their values.

    Args:
        space: what is walked.
        choose: returns the value of a dimension that varies, given its path; of a choice, it decides the branch.
        where: path of the space, if it is a part of another.
    """
    for name, dimension in space.dimensions.items():
        path = where + name
        if isinstance(dimension, Fixed):
            yield Visit(name, path, dimension, dimension.value)
            continue
        value = choose(path, dimension)
        yield Visit(name, path, dimension, value)
        if isinstance(dimension, Choice):
            yield from taken_branch(dimension.subspace(value), choose, f"{path}={value}/")


def varying_values(space: Space, choose: Callable[[str, Varying], Value]) -> dict[str, Value]:
    """Return the point, by path, that ``choose`` leads to: see ``taken_branch``."""
    return {visit.path: visit.value for visit in taken_branch(space, choose) if not isinstance(visit.dimension, Fixed)}


def settings(space: Space, point: Mapping[str, Value]) -> dict[str, Value]:
    """Return the settings, by name, of a point (by path): fixed ones included, sub-spaces flattened."""
    return {visit.name: visit.value for visit in taken_branch(space, lambda path, _: point[path])}


def contains(space: Space, point: Mapping[str, Value]) -> bool:
    """Return whether a point (by path) is one of the space: no dimension too few or too many, each value allowed."""

    def allowed(path: str, dimension: Varying) -> Value:
        if path not in point or not _allows(dimension, point[path]):
            raise LookupError(path)
        return point[path]

    try:
        return varying_values(space, allowed).keys() == point.keys()
    except LookupError:
        return False


def _allows(dimension: Varying, value: Value) -> bool:
    if isinstance(dimension, Choice):
        return value in [option for option, _ in dimension.options]
    if isinstance(value, str | None) or not dimension.low <= value <= dimension.high:
        return False
    return not isinstance(dimension, Integer) or value == int(value)


class _Place(NamedTuple):
    """One dimension of any branch."""

    name: str
    path: str
    dimension: Dimension
    taken: Mapping[str, Value]
    """The choices, by path, under which it exists."""


def _all_branches(space: Space, where: str = "", taken: Mapping[str, Value] | None = None) -> Iterator[_Place]:
    """Yield the dimensions of all branches, in a fixed order."""
    taken = taken or {}
    for name, dimension in space.dimensions.items():
        path = where + name
        yield _Place(name, path, dimension, taken)
        if isinstance(dimension, Choice):
            for value, subspace in dimension.options:
                yield from _all_branches(subspace, f"{path}={value}/", {**taken, path: value})


def all_dimensions(space: Space) -> Iterator[tuple[str, Varying]]:
    """Yield what varies in any branch, by path, in a fixed order."""
    for place in _all_branches(space):
        if not isinstance(place.dimension, Fixed):
            yield place.path, place.dimension


def repeated_settings(space: Space) -> dict[str, list[str]]:
    """Return the settings that one point could set twice, by name, each with its paths: their order would decide."""
    found: dict[str, list[str]] = {}
    places: dict[str, list[_Place]] = {}
    for place in _all_branches(space):
        for other in places.setdefault(place.name, []):
            if all(other.taken.get(choice, value) == value for choice, value in place.taken.items()):
                found[place.name] = list(dict.fromkeys([*found.get(place.name, []), other.path, place.path]))
        places[place.name].append(place)
    return found
