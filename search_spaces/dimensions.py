"""Typed dimensions: what may vary, and how. Knows neither YAML nor Optuna, and walks no space: see ``branches``.

A space is a tree: a ``Choice`` may open a sub-space under one of its values, whose dimensions exist only there. A
dimension's *path* names where it stands (``optimizer=sgd/learning_rate``), so that equal names under different values
stay different dimensions; its *name* (``learning_rate``) is the setting it sets.
"""

import math
from collections.abc import Mapping
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
        """Return the sub-space under one value."""
        return next(space for option, space in self.options if option == value)


Dimension = Fixed | Real | Integer | Choice


@dataclass(frozen=True)
class Space:
    """Named dimensions, in a fixed order."""

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
