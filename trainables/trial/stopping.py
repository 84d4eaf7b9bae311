"""Early ends that are right for trajectories: when a trial has nothing better to find, or others find it better.

The floor is no such rule: a collapsed trial is told by its evaluation alone (``evaluation``).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from trainables.config import StopConfig
from trainables.records import EvaluationRecord
from trainables.trial.sinks import Rank


def early_end(
    stop: StopConfig,
    evaluations: Sequence[EvaluationRecord],
    rank: Callable[[], Rank],
    agree: Callable[[str | None], str | None],
) -> str | None:
    """Say why a trial ends with the last of its evaluations although its axis goes on; None: it does not.

    Args:
        stop: the rules.
        evaluations: all of the trial, in step order, one at least.
        rank: gives its rank at a rung; asked at a rung only.
        agree: returns what holds for all seeds of its setting, given what the trial came to by its own rank; asked at
            a rung only.
    """
    return _passed(stop, evaluations) or _halved(stop, evaluations[-1].step, rank, agree)


def stays_ended(stop: StopConfig, evaluations: Sequence[EvaluationRecord]) -> bool:
    """Tell whether a trial that ended early stays so under these rules. At a rung that was decided once and for all."""
    if not evaluations:
        return False
    at_rung = stop.halving is not None and evaluations[-1].step in stop.halving.rungs
    return at_rung or _passed(stop, evaluations) is not None


def _passed(stop: StopConfig, evaluations: Sequence[EvaluationRecord]) -> str | None:
    """Judge by the trial alone: its exposure is at the target or below, and performance does nothing but fall."""
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


def _exposure_bits(evaluation: EvaluationRecord) -> float:
    return evaluation.rel_ex if evaluation.gen_ex is None else evaluation.gen_ex


def _halved(
    stop: StopConfig, step: int, rank: Callable[[], Rank], agree: Callable[[str | None], str | None]
) -> str | None:
    """Judge by the stratum's other trials: at a rung one in ``reduction`` goes on."""
    if stop.halving is None or step not in stop.halving.rungs:
        return None
    found = rank()
    kept = max(1, int(found.among / stop.halving.reduction))
    if found.rank <= kept:
        return agree(None)
    return agree(
        f"step {step}: hypervolume is number {found.rank} of the {found.among} trials that reached this rung, and "
        f"{kept} of them go on (stop.halving)"
    )
