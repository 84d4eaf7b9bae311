from . import comparison, summary
from .computing import frontiers
from .crossings import PRICE_COLUMNS, UNEXPOSED
from .frontier import CHOSEN_NOTE, OBJECTIVES, Frontier
from .matched import are_matched
from .objectives import label_of
from .probed import Point, ProbedOne, ProbedSet, measured_set, probed_after, probed_sets
from .setting_crossings import SettingCrossing
from .setting_names import SettingNames
from .spreads import Row, Spread, floor_of
from .targets import Target
from .trial_rows import increase_over_base, method_of, settings_of

__all__ = [
    "CHOSEN_NOTE",
    "OBJECTIVES",
    "PRICE_COLUMNS",
    "UNEXPOSED",
    "Frontier",
    "Point",
    "ProbedOne",
    "ProbedSet",
    "Row",
    "SettingCrossing",
    "SettingNames",
    "Spread",
    "Target",
    "are_matched",
    "comparison",
    "floor_of",
    "frontiers",
    "increase_over_base",
    "label_of",
    "measured_set",
    "method_of",
    "probed_after",
    "probed_sets",
    "settings_of",
    "summary",
]
