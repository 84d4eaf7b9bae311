"""The two objectives that a frontier minimises: a column itself, or its distance to the level of an unexposed model.

Less of a signed measure is not always better: a model that never saw the forget set has a level in between, and a model
below that level is over-unlearned. Such a measure is minimised as a distance. A column of which more is better is
maximised: its negative is minimised, and the column itself is shown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import SweepError
from orchestrator.frontier.spreads import Row, Spread, spread_of
from orchestrator.ledger import MAXIMISED, METRIC_COLUMNS, MINIMISED, OWN_KIND, unit
from orchestrator.pareto import Numbers
from trainables.errors import nearest_name_hint
from trainables.metrics import EXPECTED_RELATIVE_EXPOSURE_BITS

EXPOSURE_BOUNDS_BITS = (16.0, 8.0, 4.0, 2.0)
"""Default exposures of targets, if the first objective is in bits."""
FLOOR_MULTIPLES = (4.0, 2.0, 1.0)
"""The same as multiples of the reference models' mean, if that is known: no model is expected below it."""
_DIFFERENCES = {"gen_ex": 0.0, "gen_ex_per_token": 0.0, "privleak": 0.0}
"""Signed measures that are already relative to the reference models, and their level."""
_EXPECTED = {
    "rel_ex": EXPECTED_RELATIVE_EXPOSURE_BITS,
    "rel_ex_skew_normal": EXPECTED_RELATIVE_EXPOSURE_BITS,
    "membership_auc": 0.5,
    **{name: column.unexposed for name, column in METRIC_COLUMNS.items() if column.unexposed is not None},
}
"""Theoretical level of a model that never saw the forget set, used if there are no reference models."""
SIGNED = frozenset(
    {
        *_DIFFERENCES,
        *_EXPECTED,
        *(name for name, column in METRIC_COLUMNS.items() if column.goal == "unexposed"),
        "forget_nll",
    }
)
"""Columns that are minimised as a distance."""
_BEST_AT_START = ("retain_nll", "heldout_perplexity", *OWN_KIND, "bleu", "chrf", "model_utility")
"""Prices: the base model has the best, so its value is not the worst corner."""


@dataclass(frozen=True)
class Objective:
    """A column that is minimised, itself or as a distance, or whose negative is: then it is maximised."""

    column: str
    level: float | None
    """The level whose distance is minimised; None: the number itself is minimised, or maximised."""

    def of(self, values: Numbers) -> Numbers:
        """Return the objective, which is minimised, for values of the column; NaN stays NaN."""
        if self.column in MAXIMISED:
            return -values
        return values if self.level is None else np.abs(values - self.level)

    def shown(self, value: float) -> float:
        """Return the number to show for a value of the objective: of one that is maximised, the column's own."""
        return -value if self.column in MAXIMISED else value

    def of_row(self, row: Row | None) -> float | None:
        """Return the objective of a row; None: not measured."""
        value = None if row is None else row.get(self.column)
        return None if value is None else float(self.of(np.array(value, dtype=np.float64)))


def label_of(column: str, levels: Sequence[float | None]) -> str:
    """Return the label of an objective, given its level for each forget set."""
    known = {f"{level:.3g}" for level in levels if level is not None}
    if not known:
        return column
    return f"{column}, distance to {known.pop() if len(known) == 1 else 'the unexposed level of each forget set'}"


def require_objectives(names: tuple[str, str]) -> None:
    """Check that two columns can be minimised, or maximised, and differ.

    Raises:
        SweepError: a column cannot be an objective, or both are the same.
    """
    allowed = (*MINIMISED, *MAXIMISED)
    for name in names:
        if name not in allowed:
            raise SweepError(
                f"--objectives: '{name}' is not a number that can be minimised or maximised; "
                f"{nearest_name_hint(name, allowed)}"
            )
    if names[0] == names[1]:
        raise SweepError(f"--objectives: '{names[0]}' twice; give two columns that pull apart")


def require_bounds(names: tuple[str, str], exposures_at_most: Sequence[float], performance_at_most: float) -> None:
    """Check that no objective of which more is better is bounded from above.

    Raises:
        SweepError: one is.
    """
    bounded = {
        "--exposure-at-most": (names[0], bool(exposures_at_most)),
        "--performance-at-most": (names[1], math.isfinite(performance_at_most)),
    }
    for option, (name, given) in bounded.items():
        if given and name in MAXIMISED:
            raise SweepError(
                f"{option}: of '{name}' more is better, and the option bounds it from above; leave it out, or choose "
                f"points by query: where {name} >= ..."
            )


def objective_of(column: str, floor: Mapping[str, Spread], base: Row | None, *, references: int) -> Objective:
    """Return the objective of a column.

    The level of a signed measure is the reference models' mean; without reference models, the theoretical one. The
    forget NLL has no theoretical level: the base model's NLL of never-trained examples of the same kind stands for it.

    Args:
        column: the column.
        floor: what the reference models have, by column.
        base: the row of the base model.
        references: the number of reference models, to explain why a level is not known.

    Raises:
        SweepError: the column is signed, and its level is not known.
    """
    level = _DIFFERENCES.get(column)
    if level is None and column in SIGNED:
        level = floor[column].mean if column in floor else _EXPECTED.get(column)
        if level is None and column == "forget_nll" and base is not None:
            level = base.get("population_nll")
        if level is None:
            why = {
                0: "this sweep has no reference models to tell what that is",
                1: "the only reference model of this sweep does not tell it: each is measured against the others, so "
                "that it takes two",
            }.get(references, "the rows of this sweep's reference models lack it, as those of older versions do")
            relative = f"{column.replace('gen_ex', 'rel_ex')}, " if references and column.startswith("gen_ex_") else ""
            raise SweepError(
                f"--objectives: of '{column}' less is not better: it is minimised as the distance to what models have "
                f"that never saw the forget set, and {why}; take {relative}gen_ex_abs, rel_ex or membership_auc"
            )
    return Objective(column, level)


def exposure_floor(objective: Objective, references: Sequence[Row]) -> float | None:
    """Return the reference models' mean of an objective; None: not known, or the objective is not an exposure."""
    if unit(objective.column) != "bits" and objective.column not in SIGNED:
        return None
    level = spread_of([objective.of_row(row) for row in references])
    return None if level is None else level.mean


def default_bounds(objective: Objective, floor: float | None) -> tuple[float, ...]:
    """Return the default exposures of targets, the loosest first.

    No exposure is below the floor. The floor of a distance is near 0, so its multiples would be no useful targets.
    """
    if unit(objective.column) != "bits":
        return ()
    if objective.level is None and floor:
        return tuple(times * floor for times in FLOOR_MULTIPLES)
    return tuple(dict.fromkeys(max(bound, floor or 0.0) for bound in EXPOSURE_BOUNDS_BITS))


def worst_corner(
    objectives: Sequence[Objective], values_N2: Numbers, base: Row | None, performance_floor: float
) -> tuple[tuple[float, float] | None, tuple[str, str]]:
    """Return the reference point of hypervolume and the origin of each coordinate; None: it is not known.

    It is the base model's exposure and the performance at the floor; for other columns, the worst evaluation.
    """
    corner, origin = [], []
    for objective, values_N in zip(objectives, values_N2.T, strict=True):
        start = objective.of_row(base)
        if start is None or objective.column in _BEST_AT_START:
            corner.append(max(values_N, default=math.nan))
            origin.append("the worst evaluation")
        elif objective.column in ("performance", "heldout_nll"):
            corner.append(start + performance_floor)
            origin.append("performance at the floor")
        else:
            corner.append(start)
            origin.append("no unlearning")
    point = (float(corner[0]), float(corner[1]))
    return point if np.isfinite(point).all() else None, (origin[0], origin[1])
