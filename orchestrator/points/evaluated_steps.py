"""Evaluated steps of a sweep, each a (trial, step), with what the ledger records of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.ledger import BASELINES, Ledger, metric_row

Row = Mapping[str, Any]
_KEY = ("model", "forget_set", "replicate")
"""Columns of the baselines that say what was measured."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedStep:
    """One (trial, step), with what the ledger records of it."""

    trial: Row
    """The row of the trial."""
    step: int
    metrics: Row
    """What was measured at this step, by column. For a step 0 that the step axis lacks: the baseline of the base
    model."""
    chosen_by: str | None = None
    """The bounds within which this step is the best. It was chosen on the same evaluations that it is shown with. None:
    it was requested by trial and step."""

    @property
    def trial_id(self) -> str:
        """The id of the trial."""
        return str(self.trial["trial_id"])


def find_step(ledger: Ledger, trial: str, step: int) -> EvaluatedStep:
    """Find an evaluated step by a trial's id, or a unique prefix of it, and the step; 0 is the base model.

    Raises:
        SweepError: no trial's id starts with this prefix, or several do; or the trial was not evaluated at that step.
    """
    return evaluated_step(ledger, find_trial(ledger, trial), step)


def find_trial(ledger: Ledger, trial: str) -> Row:
    """Find a trial by its id, or a unique prefix of it.

    Raises:
        SweepError: no trial's id starts with this prefix, or several do.
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


def evaluated_step(ledger: Ledger, trial: Row, step: int) -> EvaluatedStep:
    """Read what the ledger records of a trial's step, or of the base model that the trial starts from.

    Raises:
        SweepError: the trial was not evaluated at this step.
    """
    evaluations = {
        evaluation.step: metric_row("evaluations", evaluation.columns())
        for evaluation in ledger.published(trial["trial_id"])[0]
    }
    if step in evaluations:
        return EvaluatedStep(trial=trial, step=step, metrics=evaluations[step])
    if step == 0:  # the base model, which was measured before any trial
        base = ledger.baselines().base(trial["forget_set"], trial["replicate"])
        if base is not None:
            return EvaluatedStep(
                trial=trial, step=0, metrics={name: base[name] for name in BASELINES.names if name not in _KEY}
            )
    nearest = min(evaluations, key=lambda known: abs(known - step), default=None)
    raise SweepError(
        f"--step {step}: trial {trial['trial_id']} was not evaluated there; "
        + ("it has no evaluation" if nearest is None else f"nearest: {nearest}; its steps: {_listed(evaluations)}")
    )


def metric_text(value: float | None) -> str:
    """Return a metric as shown to people."""
    return "not measured" if value is None else f"{value:.6g}"


def _listed(steps: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(steps)))
