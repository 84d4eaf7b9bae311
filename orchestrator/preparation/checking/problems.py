"""The problems that checks found, and whether they forbid a sweep or are warnings. It loads no PyTorch."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import SweepError
from orchestrator.preparation.inputs import SweepInputs
from orchestrator.spec import SweepSpec
from trainables.errors import DataWarning
from trainables.preparation import Problem, Severity


@dataclass(frozen=True, kw_only=True)
class CheckedInputs:
    """A sweep's inputs with the problems of its data, model and settings, as ``checks.read_and_check`` returns them."""

    replicates: Sequence[SweepInputs]
    """The inputs of each replicate."""
    problems: tuple[Problem, ...]
    warned: tuple[Warning, ...] = ()
    """Warnings that were given while the inputs were read."""
    training_flops: float | None = None
    """Floating-point operations of training the models of one replicate; None: not known."""

    @property
    def spec(self) -> SweepSpec:
        """The spec of the sweep, with the numbers that its defaults derive from the data."""
        return self.replicates[0].spec


def require_no_problem(checked: CheckedInputs, *, exists: bool = False) -> None:
    """Refuse a sweep that would fail, or whose numbers would be misleading; warn about lesser problems.

    Args:
        checked: the checked inputs of the sweep.
        exists: whether the sweep was already begun, maybe before a check existed: then only what would fail is refused.

    Raises:
        SweepError: lists every problem.
    """
    for warning in checked.warned:
        warnings.warn(warning, stacklevel=2)
    refuse_or_warn(checked.spec.name, checked.problems, notes=checked.replicates[0].notes, exists=exists)


def refuse_or_warn(sweep: str, problems: Sequence[Problem], *, notes: Sequence[str] = (), exists: bool = False) -> None:
    """Refuse a sweep because of its problems, or warn about them and about defaults that were reduced to the data.

    Args:
        sweep: the name of the sweep.
        problems: the problems that were found.
        notes: descriptions of defaults that were reduced to what the data has.
        exists: as for ``require_no_problem``.

    Raises:
        SweepError: lists every problem that is refused.
    """
    refused = {Severity.FAILS} if exists else {Severity.FAILS, Severity.MISLEADS}
    wrong = [problem for problem in problems if problem.severity in refused]
    if wrong:
        lines = "\n".join(f"  {problem}" for problem in wrong)
        raise SweepError(f"sweep '{sweep}': data, model and settings do not go together:\n{lines}")
    for note in (*notes, *(problem for problem in problems if not exists or problem.severity is Severity.MISLEADS)):
        warnings.warn(str(note), DataWarning, stacklevel=2)
