"""The best evaluated step of a sweep within bounds: ``--best "exposure<=2, performance<=4.5"``.

No step is ever chosen for a low generalized exposure, which has no lower end: see ``best_step``.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from orchestrator.errors import SweepError
from orchestrator.ledger import EVALUATIONS, METRIC_COLUMNS, OWN_KIND, Ledger
from orchestrator.points.evaluated_steps import EvaluatedStep, Row, evaluated_step, metric_text
from orchestrator.spec import on_axis, stored_spec
from trainables.errors import nearest_name_hint
from trainables.records import Status

SHORT_NAMES = {"exposure": "unlearning_quality"}
"""Short names of columns that conditions may use."""
NUMBERS = tuple(c.name for c in EVALUATIONS if pa.types.is_floating(c.type) or pa.types.is_integer(c.type))
"""Columns of evaluations that conditions may bound."""
_KEPT = frozenset({"model_utility"})
"""Columns of chosen metrics that measure performance."""
_PERFORMANCE = frozenset(
    {"performance", "heldout_nll", "heldout_perplexity", "retain_nll", *OWN_KIND, "bleu", "chrf", *_KEPT}
)
_EXPOSURE = frozenset(
    {
        "unlearning_quality", "gen_ex", "gen_ex_abs", "gen_ex_per_token", "rel_ex", "rel_ex_skew_normal",
        "forget_nll", "extraction_rate", "membership_auc", *(METRIC_COLUMNS.keys() - _KEPT),
    }
)  # fmt: skip
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}
_CONDITION = re.compile(r"\s*(?P<name>\w+)\s*(?P<comparison><=|>=)\s*(?P<bound>[-+.\w]+)\s*")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A bound on a column of the evaluations."""

    column: str
    comparison: str
    bound: float

    def is_met(self, row: Row) -> bool:
        """Return whether a row is within the bound. A value that was not measured is not."""
        value = row[self.column]
        return value is not None and _COMPARISONS[self.comparison](value, self.bound)

    def excess(self, row: Row) -> float:
        """Return how far a row exceeds the bound, relative to the bound, or absolute if that is below 1."""
        if row[self.column] is None:
            return math.inf
        return 0.0 if self.is_met(row) else abs(row[self.column] - self.bound) / max(abs(self.bound), 1.0)

    def __str__(self) -> str:
        return f"{self.column}{self.comparison}{self.bound:g}"


def parse_conditions(text: str) -> list[Condition]:
    """Parse a text such as ``exposure<=2, performance<=4.5``.

    Raises:
        SweepError: the text cannot be parsed, or names a column that evaluations do not have.
    """
    conditions = []
    for part in text.split(","):
        match = _CONDITION.fullmatch(part)
        bound = _number(match["bound"]) if match is not None else None
        if match is None or bound is None:
            raise SweepError(
                f"--best '{text}': cannot read '{part.strip()}'; give bounds between commas, NAME<=NUMBER or "
                f'NAME>=NUMBER: --best "exposure<=2, performance<=4.5"'
            )
        column = SHORT_NAMES.get(match["name"], match["name"])
        if column not in NUMBERS:
            hint = nearest_name_hint(match["name"], [*SHORT_NAMES, *NUMBERS])
            raise SweepError(f"--best '{text}': '{match['name']}' is not a numeric column of evaluations; {hint}")
        conditions.append(Condition(column=column, comparison=match["comparison"], bound=bound))
    return conditions


def best_step(ledger: Ledger, conditions: Sequence[Condition], forget_set: str | None = None) -> EvaluatedStep:
    """Return the completed evaluation with the best performance (held-out NLL) among those that meet all conditions.

    If the conditions bound performance but no exposure, return the least exposed one by ``unlearning_quality``: the
    distance from what a model shows that never saw the forget set. (The lowest GenEx would be the most over-unlearned
    model.) Ties are broken by the other of the two, then by trial and step.

    Raises:
        SweepError: there is no such forget set; no evaluation meets the conditions; or evaluations of several forget
            sets do, which cannot be compared.
    """
    spec = stored_spec(ledger)
    allowed = spec.require_forget_sets(forget_set)
    rows = [
        row
        for row in on_axis(spec, ledger.table("evaluations")).to_pylist()
        if row["status"] == Status.COMPLETED and row["forget_set"] in allowed
    ]
    bounded = {condition.column for condition in conditions}
    order = ["performance", "unlearning_quality"]
    if bounded & _PERFORMANCE and not bounded & _EXPOSURE:
        order.reverse()
    wanted = ", ".join(map(str, conditions))
    meeting = [row for row in rows if all(condition.is_met(row) for condition in conditions)]
    if not meeting:
        raise SweepError(f"--best '{wanted}': {_closest(rows, conditions)}")
    sets = sorted({row["forget_set"] for row in meeting})
    if len(sets) > 1:
        raise SweepError(
            f"--best '{wanted}': evaluations of several forget sets meet it, and models that unlearned different texts "
            f"cannot be compared; choose one: --forget-set {', '.join(sets)}"
        )
    best = min(meeting, key=lambda row: (*(row[name] for name in order), row["trial_id"], row["step"]))
    return replace(evaluated_step(ledger, ledger.trial(best["trial_id"]), best["step"]), chosen_by=wanted)


def _closest(rows: Sequence[Row], conditions: Sequence[Condition]) -> str:
    """Return why no row was chosen: none meets the conditions, and which comes closest."""
    if not rows:
        return "the sweep has no completed evaluation"
    closest = min(rows, key=lambda row: max(condition.excess(row) for condition in conditions))
    values = ", ".join(f"{c.column} {metric_text(closest[c.column])}" for c in conditions)
    return (
        f"none of {len(rows)} completed evaluations meets it; closest: trial {closest['trial_id']}, step "
        f"{closest['step']}, forget set {closest['forget_set']}: {values}"
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
