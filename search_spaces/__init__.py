"""What may vary in a sweep: typed dimensions, YAML spaces, Optuna distributions and the shipped sweep specs."""

from search_spaces.dimensions import (
    Choice,
    Fixed,
    Integer,
    Real,
    Space,
    SpaceError,
    Value,
    corners,
    grid,
    settings,
)
from search_spaces.loader import parse_space, shipped_specs
from search_spaces.optuna_space import distributions, suggest

__all__ = [
    "Choice",
    "Fixed",
    "Integer",
    "Real",
    "Space",
    "SpaceError",
    "Value",
    "corners",
    "distributions",
    "grid",
    "parse_space",
    "settings",
    "shipped_specs",
    "suggest",
]
