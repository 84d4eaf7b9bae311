"""How a trial ends with an evaluation: at the end of its axis, below the performance floor, or early.

An early end is right for a trajectory where the trial has nothing better to find, or others find it better. The
performance floor is no such rule: a trial has collapsed by its evaluation alone (``metrics.evaluation``).
"""

from collections.abc import Sequence
from itertools import pairwise

from trainables.config import StopConfig
from trainables.records import EvaluationRecord, Status


def ending(
    stop: StopConfig, evaluations: Sequence[EvaluationRecord], *, max_heldout_nll: float, is_complete: bool
) -> tuple[Status, str | None] | None:
    """Return how a trial ends with its last evaluation, and why, unless it is complete; None: it goes on.

    Args:
        stop: the rules for early ends.
        evaluations: all of the trial, in step order.
        max_heldout_nll: the performance floor, nats per token.
        is_complete: whether the last evaluation is of the last step of the axis.
    """
    last = evaluations[-1]
    if last.status is Status.COLLAPSED:
        reason = f"held-out NLL {last.performance:.3f} is above the floor {max_heldout_nll:.3f}"
        return last.status, f"step {last.step}: {reason}"
    if is_complete:
        return Status.COMPLETED, None
    early = early_end(stop, evaluations)
    return None if early is None else (Status.COMPLETED, early)


def early_end(stop: StopConfig, evaluations: Sequence[EvaluationRecord]) -> str | None:
    """Return why a trial ends with its last evaluation although its axis goes on; None: its rules let it go on.

    The rule: its exposure is at the target or below, and its performance does nothing but fall.

    Args:
        stop: the rules.
        evaluations: all of the trial, in step order.
    """
    tail = list(evaluations)[-stop.patience - 1 :]
    if stop.exposure_at_most is None or len(tail) <= stop.patience:
        return None
    reached = all(_exposure_bits(evaluation) <= stop.exposure_at_most for evaluation in tail[1:])
    falls = all(later.performance > earlier.performance for earlier, later in pairwise(tail))
    if not (reached and falls):
        return None
    return (
        f"step {tail[-1].step}: exposure {_exposure_bits(tail[-1]):.3f} bits is past the target "
        f"{stop.exposure_at_most:g}, and performance fell at {stop.patience} evaluations (stop.patience)"
    )


def is_rung(stop: StopConfig, step: int) -> bool:
    """Return whether a trial is judged at a step among the others of its stratum, which its driver does."""
    return stop.halving is not None and step in stop.halving.rungs


def stays_ended(stop: StopConfig, evaluations: Sequence[EvaluationRecord]) -> bool:
    """Return whether a trial that ended early stays so under these rules. At a rung that was decided once for all."""
    if not evaluations:
        return False
    return is_rung(stop, evaluations[-1].step) or early_end(stop, evaluations) is not None


def _exposure_bits(evaluation: EvaluationRecord) -> float:
    return evaluation.rel_ex if evaluation.gen_ex is None else evaluation.gen_ex
