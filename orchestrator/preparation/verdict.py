"""What examining a sweep's data, model and settings has shown, and whether the sweep may run. It loads no PyTorch."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import SweepError
from orchestrator.preparation.inputs import SweepInputs
from trainables.errors import DataWarning
from trainables.preparation import Problem, Severity


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What ``readiness.examine`` returns, from whichever process."""

    inputs: SweepInputs
    problems: tuple[Problem, ...]
    warned: tuple[Warning, ...] = ()
    """Warnings given on the way."""
    training_flops: float | None = None
    """Arithmetic of training all models; None: it is not known."""


def require_sound(examined: Examined, *, exists: bool = False) -> None:
    """Refuse a sweep that would fail, or whose numbers would not mean what they are called; warn of what is coarse.

    Args:
        examined: of the sweep.
        exists: it was begun, maybe before there was a check: only what would fail is refused.

    Raises:
        SweepError: with every problem.
    """
    for warning in examined.warned:
        warnings.warn(warning, stacklevel=2)
    inputs = examined.inputs
    require_no_problem(inputs.spec.name, examined.problems, notes=inputs.notes, exists=exists)


def require_no_problem(
    sweep: str, problems: Sequence[Problem], *, notes: Sequence[str] = (), exists: bool = False
) -> None:
    """Refuse a sweep for its problems, or warn of them, and of which defaults took what there is.

    Args:
        sweep: its name.
        problems: that were found.
        notes: which defaults took what there is.
        exists: as for ``require_sound``.

    Raises:
        SweepError: with every problem that is refused.
    """
    refused = {Severity.FAILS} if exists else {Severity.FAILS, Severity.MISLEADS}
    wrong = [problem for problem in problems if problem.severity in refused]
    if wrong:
        lines = "\n".join(f"  {problem}" for problem in wrong)
        raise SweepError(f"sweep '{sweep}': data, model and settings do not go together:\n{lines}")
    for note in (*notes, *(problem for problem in problems if not exists or problem.severity is Severity.MISLEADS)):
        warnings.warn(str(note), DataWarning, stacklevel=2)
