"""What examining a sweep's data, model and settings has shown, and whether the sweep may run. It loads no PyTorch."""

import warnings
from dataclasses import dataclass

from orchestrator.errors import SweepError
from orchestrator.inputs import SweepInputs
from trainables.errors import DataWarning
from trainables.problems import Grade, Problem


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
    inputs, problems = examined.inputs, examined.problems
    refused = {Grade.FAILS} if exists else {Grade.FAILS, Grade.MISLEADS}
    wrong = [problem for problem in problems if problem.grade in refused]
    if wrong:
        lines = "\n".join(f"  {problem}" for problem in wrong)
        raise SweepError(f"sweep '{inputs.spec.name}': data, model and settings do not go together:\n{lines}")
    for note in (*inputs.notes, *(problem for problem in problems if not exists or problem.grade is Grade.MISLEADS)):
        warnings.warn(str(note), DataWarning, stacklevel=2)
