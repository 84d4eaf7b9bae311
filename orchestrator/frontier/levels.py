"""What models show that never saw a forget set: the floor of its frontier.

A reference model is measured against the other reference models (``EvaluationSets.without_reference``), so the floor is
what one more model without the forget set would have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]
"""A row of the evaluations table, or of the baselines."""

MEASURES = (
    "unlearning_quality", "gen_ex", "gen_ex_abs", "gen_ex_per_token", "rel_ex", "rel_ex_skew_normal",
    "extraction_rate", "membership_auc", "forget_nll",
)  # fmt: skip
"""Measures of exposure: columns for which the reference models have a floor."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One number of several models, such as the reference models or those of several seeds: mean, smallest, largest."""

    mean: float
    low: float
    high: float
    models: int


def floor_of(references: Sequence[Row]) -> dict[str, Level]:
    """Return what the reference models have of each measure, by column; without what was not measured."""
    return {name: level for name in MEASURES if (level := level_of([row.get(name) for row in references])) is not None}


def level_of(values: Sequence[float | None]) -> Level | None:
    """Return mean and range of the values that are finite numbers; None where there are none."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not known:
        return None
    return Level(mean=float(np.mean(known)), low=min(known), high=max(known), models=len(known))
