"""Points of a sweep, a (trial, step) each, and what the ledger says of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.ledger import BASELINES, Ledger

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class EvaluatedStep:
    """One (trial, step), and what the ledger says of it."""

    trial: Row
    """The row of the trial."""
    step: int
    metrics: Row
    """What was measured there, by column; of a step 0 that the axis lacks, the baseline of the base model."""
    chosen_by: str | None = None
    """The bounds that it is the best point within, chosen on the evaluations that it is shown with; None: it was asked
    for by trial and step."""

    @property
    def trial_id(self) -> str:
        """Give the id of the trial."""
        return str(self.trial["trial_id"])


def find_point(ledger: Ledger, trial: str, step: int) -> EvaluatedStep:
    """Find a point by a trial's id, or the beginning of it that no other has, and a step that was evaluated, or 0.

    Raises:
        SweepError: no trial's id begins so, or several do; or the trial was not evaluated at that step.
    """
    return point_of(ledger, find_trial(ledger, trial), step)


def find_trial(ledger: Ledger, trial: str) -> Row:
    """Find a trial by its id, or the beginning of it that no other has.

    Raises:
        SweepError: no trial's id begins so, or several do.
    """
    rows = {str(row["trial_id"]): row for row in ledger.trials()}
    found = [trial_id for trial_id in rows if trial_id.startswith(trial)]
    if len(found) != 1:
        listed = ", ".join(sorted(found or rows)[:20]) or "none"
        raise SweepError(
            f"--trial {trial}: {'several trials begin so' if found else 'no trial of this sweep begins so'}; give the "
            f"beginning of one id: {listed}{', ...' if len(found or rows) > 20 else ''}"
        )
    return rows[found[0]]


def point_of(ledger: Ledger, trial: Row, step: int) -> EvaluatedStep:
    """Read what the ledger says of a trial's step, or of the base model that it starts from.

    Raises:
        SweepError: the trial was not evaluated there.
    """
    evaluations = {evaluation.step: vars(evaluation) for evaluation in ledger.published(trial["trial_id"])[0]}
    if step in evaluations:
        return EvaluatedStep(trial=trial, step=step, metrics=evaluations[step])
    if step == 0:  # the base model, which was measured before any trial
        base = ledger.baselines().base(trial["forget_set"])
        if base is not None:
            return EvaluatedStep(trial=trial, step=0, metrics={name: base[name] for name in BASELINES.names[2:]})
    nearest = min(evaluations, key=lambda known: abs(known - step), default=None)
    raise SweepError(
        f"--step {step}: trial {trial['trial_id']} was not evaluated there; "
        + ("it has no evaluation" if nearest is None else f"nearest: {nearest}; its steps: {_listed(evaluations)}")
    )


def shown(value: float | None) -> str:
    """Put a metric for people."""
    return "not measured" if value is None else f"{value:.6g}"


def _listed(steps: Mapping[int, Any]) -> str:
    return ", ".join(map(str, sorted(steps)))
