"""The two numbers that a frontier minimises: a column as it is, or its distance to what an unexposed model shows.

A signed measure has no lower end, or one that is no aim: a model that never saw the forget set lies in between, and
below that level a model is over-unlearned. It is minimised as a distance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import SweepError
from orchestrator.frontier.levels import Level, Row, level_of
from orchestrator.ledger import MINIMISED, OWN_KIND, unit
from orchestrator.pareto import Numbers
from trainables.errors import nearest_name_hint
from trainables.metrics import EXPECTED_RELATIVE_EXPOSURE_BITS

EXPOSURE_BOUNDS_BITS = (16.0, 8.0, 4.0, 2.0)
"""Exposures that targets are given for where none are asked for, and the first objective is in bits."""
FLOOR_MULTIPLES = (4.0, 2.0, 1.0)
"""The same, as multiples of what the reference models have where that is known: no model is expected below it."""
_DIFFERENCES = {"gen_ex": 0.0, "gen_ex_per_token": 0.0}
"""Signed measures that are relative to the reference models already, and their level."""
_EXPECTED = {
    "rel_ex": EXPECTED_RELATIVE_EXPOSURE_BITS,
    "rel_ex_skew_normal": EXPECTED_RELATIVE_EXPOSURE_BITS,
    "membership_auc": 0.5,
}
"""What theory expects of a model that never saw the forget set; what the reference models have goes before it."""
SIGNED = frozenset({*_DIFFERENCES, *_EXPECTED, "forget_nll"})
"""Columns that are minimised as a distance."""
_GROWING = ("retain_nll", "heldout_perplexity", *OWN_KIND)
"""Prices: the base model has the lowest, so it is no worst corner."""


@dataclass(frozen=True)
class Objective:
    """A column that is minimised."""

    column: str
    level: float | None
    """What distance to is minimised; None: the number itself is."""

    def of(self, values: Numbers) -> Numbers:
        """Return what is minimised of values of the column; NaN stays NaN."""
        return values if self.level is None else np.abs(values - self.level)

    def of_row(self, row: Row | None) -> float | None:
        """Return what is minimised of a row; None where it was not measured."""
        value = None if row is None else row.get(self.column)
        return None if value is None else float(self.of(np.array(value, dtype=np.float64)))


def label_of(column: str, levels: Sequence[float | None]) -> str:
    """Name what is minimised, of one forget set or, with a level each, of several."""
    known = {f"{level:.3g}" for level in levels if level is not None}
    if not known:
        return column
    return f"{column}, distance to {known.pop() if len(known) == 1 else 'the unexposed level of each forget set'}"


def require_objectives(names: tuple[str, str]) -> None:
    """Check that both can be minimised, and are not the same.

    Raises:
        SweepError: one cannot, or they are.
    """
    for name in names:
        if name not in MINIMISED:
            raise SweepError(
                f"--objectives: '{name}' is no number that can be minimised; {nearest_name_hint(name, MINIMISED)}"
            )
    if names[0] == names[1]:
        raise SweepError(f"--objectives: '{names[0]}' twice; give two columns that pull apart")


def objective_of(column: str, floor: Mapping[str, Level], base: Row | None) -> Objective:
    """Return what is minimised of a column.

    The level of a signed measure is that of the reference models; without any, the one that theory expects. The forget
    NLL has none in theory: the base model's on never-trained examples of the same kind stands for it.

    Raises:
        SweepError: it is signed, and nothing says its level.
    """
    level = _DIFFERENCES.get(column)
    if level is None and column in SIGNED:
        level = floor[column].mean if column in floor else _EXPECTED.get(column)
        if level is None and base is not None:
            level = base.get("population_nll")
        if level is None:
            raise SweepError(
                f"--objectives: of '{column}' less is not better: it is minimised as the distance to what models have "
                f"that never saw the forget set, and this sweep has neither reference models nor the base model's "
                f"population_nll; take gen_ex_abs, rel_ex or membership_auc"
            )
    return Objective(column, level)


def exposure_floor(objective: Objective, references: Sequence[Row]) -> float | None:
    """Return what the reference models have of an objective on average; None: it is no exposure, or not known."""
    if unit(objective.column) != "bits" and objective.column not in SIGNED:
        return None
    level = level_of([objective.of_row(row) for row in references])
    return None if level is None else level.mean


def default_bounds(objective: Objective, floor: float | None) -> tuple[float, ...]:
    """Return the exposures that targets are given for where none are asked for, the loosest first.

    None is below the floor. Of a distance the floor is near 0, and says nothing of what is far.
    """
    if unit(objective.column) != "bits":
        return ()
    if objective.level is None and floor:
        return tuple(times * floor for times in FLOOR_MULTIPLES)
    return tuple(dict.fromkeys(max(bound, floor or 0.0) for bound in EXPOSURE_BOUNDS_BITS))


def worst_corner(
    objectives: Sequence[Objective], values_N2: Numbers, base: Row | None, performance_floor: float
) -> tuple[tuple[float, float] | None, tuple[str, str]]:
    """Return the worst corner worth counting, and what each coordinate is.

    That is the base model's exposure and performance at the floor; of other numbers the worst that was seen.
    """
    corner, origin = [], []
    for objective, values_N in zip(objectives, values_N2.T, strict=True):
        start = objective.of_row(base)
        if start is None or objective.column in _GROWING:
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
