"""What a worker reports of a trial: one report for every slice of its life. Plain data, and light to import."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainables.records import Observation

if TYPE_CHECKING:
    from trainables.trial.trial_run import TrialRun

EVALUATION = "evaluation"
"""Key of an ``Observation``, in the report of the slice that made it."""
OUTCOME = "outcome"
"""Key of the status with which the trial ended, in its last report."""
RUNG = "rung"
"""Key of the rung that the trial has reached. It takes no further slice until its driver has judged it there."""
WARNING = "warning"
"""Key of what went wrong and was made good."""
STORAGE_ERROR = "storage_error"
"""Key of why rows or checkpoints could not be kept; nothing is wrong with the trial itself."""
FAILURE = "failure"
"""Key of the exception that ended the trial, a ``Failure`` as a dictionary. It is part of a report, because an actor
that raises is an error of Ray's, which loses what was raised, and when."""
_LAST = frozenset({OUTCOME, STORAGE_ERROR, FAILURE})


def next_report(run: "TrialRun") -> dict[str, Any]:
    """Run a trial's next slice and return the report of it. A warning is reported once."""
    report: dict[str, Any] = {}
    if run.warning is not None:
        report[WARNING], run.warning = run.warning, None
    evaluation = run.advance()
    if evaluation is not None:
        report[EVALUATION] = Observation.of(evaluation)
    if run.outcome is not None:
        report[OUTCOME] = run.outcome.status.value
    elif run.rung is not None:
        report[RUNG] = run.rung
    return report


def is_last(report: Mapping[str, Any]) -> bool:
    """Return whether no further report of the trial follows."""
    return not _LAST.isdisjoint(report)
