"""What may vary in a sweep: typed dimensions, YAML spaces and the shipped sweep specs.

Their Optuna distributions are in ``search_spaces.optuna_space``, so that reading results does not load Optuna.
"""

from search_spaces.dimensions import (
    Choice,
    Fixed,
    Integer,
    Real,
    Space,
    SpaceError,
    Value,
    combinations,
    contains,
    corners,
    grid,
    grid_size,
    repeated_settings,
    settings,
)
from search_spaces.loader import parse_space, shipped_specs
from search_spaces.unit_cube import all_dimensions, point_at, share_of, value_at

__all__ = [
    "Choice",
    "Fixed",
    "Integer",
    "Real",
    "Space",
    "SpaceError",
    "Value",
    "all_dimensions",
    "combinations",
    "contains",
    "corners",
    "grid",
    "grid_size",
    "parse_space",
    "point_at",
    "repeated_settings",
    "settings",
    "share_of",
    "shipped_specs",
    "value_at",
]
