from .branches import all_dimensions, contains, repeated_settings, settings
from .dimensions import Choice, Fixed, Integer, Real, Space, SpaceError, Value
from .grids import combinations, corners, grid, grid_size
from .loader import parse_space, shipped_specs
from .optuna_space import distribution, distributions, suggest
from .unit_cube import point_at, share_of, value_at

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
    "distribution",
    "distributions",
    "grid",
    "grid_size",
    "parse_space",
    "point_at",
    "repeated_settings",
    "settings",
    "share_of",
    "shipped_specs",
    "suggest",
    "value_at",
]
