"""Spreads of one number over several models, and the floor of a frontier: the spread of the reference models.

A reference model is measured against the other reference models (``EvaluationSets.without_reference``), so the floor is
what one more model that never saw the forget set would have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.ledger import METRIC_COLUMNS, MINIMISED

Row = Mapping[str, Any]
"""A row of the evaluations table, or of the baselines."""

MEASURES = (
    "unlearning_quality", "gen_ex", "gen_ex_abs", "gen_ex_per_token", "rel_ex", "rel_ex_skew_normal",
    "extraction_rate", "membership_auc", "forget_nll", *(name for name in METRIC_COLUMNS if name in MINIMISED),
)  # fmt: skip
"""Measures of exposure: columns for which the reference models have a floor."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean, smallest and largest of one number over several models: reference models, or one model a seed."""

    mean: float
    low: float
    high: float
    models: int


def floor_of(references: Sequence[Row]) -> dict[str, Spread]:
    """Return the spread of each measure over the reference models by column, without those that were not measured."""
    return {name: level for name in MEASURES if (level := spread_of([row.get(name) for row in references])) is not None}


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """Return the spread of the values that are finite numbers; None: there are none."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not known:
        return None
    return Spread(mean=float(np.mean(known)), low=min(known), high=max(known), models=len(known))
