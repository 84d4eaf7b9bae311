"""What Ray Tune is told of a trial, however many workers it runs on: one result for every slice of its life."""

from typing import TYPE_CHECKING, Any

from trainables.records import Observation

if TYPE_CHECKING:
    from trainables.trial import TrialRun

TRIAL = "trial"
"""Key of the trial in Tune's config; its value is a ``Trial``."""
EVALUATION, OUTCOME, WARNING, STORAGE_ERROR = "evaluation", "outcome", "warning", "storage_error"
"""Keys of a Tune result, each where there is one: an ``Observation``, the ending status, what was made good, and
why the trial could not go on although nothing is wrong with it."""
FAILURE = "failure"
"""Key of the exception that ended the trial, a ``Failure`` as a dictionary. Told as a result like any other: an actor
that raises is an error of Ray's, which loses what was raised, and when."""


def next_result(run: "TrialRun") -> dict[str, Any]:
    """Go on towards the next evaluation, and say what came of it; a warning is told once."""
    result: dict[str, Any] = {}
    if run.warning is not None:
        result[WARNING], run.warning = run.warning, None
    evaluation = run.advance()
    if evaluation is not None:
        result[EVALUATION] = Observation.of(evaluation)
    if run.outcome is not None:
        result[OUTCOME] = run.outcome.status.value
    return result
