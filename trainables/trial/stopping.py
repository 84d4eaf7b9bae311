"""Early ends that are right for trajectories: where a trial has nothing better to find, or others find it better.

The performance floor is no such rule: a trial has collapsed by its evaluation alone (``metrics.evaluation``).
"""

from collections.abc import Sequence
from itertools import pairwise

from trainables.config import StopConfig
from trainables.records import EvaluationRecord


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
