"""What frontiers say, in words and rows. The terminal's tables and the report only format it."""

from orchestrator.frontier.summary.answers import answer, definitions
from orchestrator.frontier.summary.notes import (
    ExposureNote,
    averaged,
    exposure_notes,
    floor_note,
    frontier_notes,
    interval_note,
    price_note,
    reference_note,
    target_note,
)
from orchestrator.frontier.summary.points import POINTS_SHOWN, ends, is_same, point_marks, points_shown, points_title
from orchestrator.frontier.summary.prices import (
    PRICE_TITLES,
    Price,
    lost_against_base,
    own_kind_measured,
    priced_measures,
    prices_of,
    setting_names,
)
from orchestrator.frontier.summary.probes import probe_note, probe_table
from orchestrator.frontier.summary.texts import (
    DISTRIBUTION_NAMES,
    MEASURE_NAMES,
    number_text,
    quality_name,
    spread_text,
)

__all__ = [
    "DISTRIBUTION_NAMES",
    "MEASURE_NAMES",
    "POINTS_SHOWN",
    "PRICE_TITLES",
    "ExposureNote",
    "Price",
    "answer",
    "averaged",
    "definitions",
    "ends",
    "exposure_notes",
    "floor_note",
    "frontier_notes",
    "interval_note",
    "is_same",
    "lost_against_base",
    "number_text",
    "own_kind_measured",
    "point_marks",
    "points_shown",
    "points_title",
    "price_note",
    "priced_measures",
    "prices_of",
    "probe_note",
    "probe_table",
    "quality_name",
    "reference_note",
    "setting_names",
    "spread_text",
    "target_note",
]
