"""The command, with trials that fail: ``python -m tests.integration.failing HOW run SPEC ...``.

HOW: ``early`` (before the first evaluation, every trial), ``later`` (after step 2, in one forget set alone) or ``wide``
(in every worker of a wide trial).
"""

import sys
from importlib import import_module
from typing import Any

from orchestrator.cli import app as cli
from orchestrator.ledger import TrialWriter
from orchestrator.run.executors import inline
from trainables import tune
from trainables.records import Trial
from trainables.trial import TrialWorker
from trainables.trial.ascent import Ascent

LATER_FROM = 2
EARLY, LATER = "no retain.parquet here", "a bug of an objective"


class FailsEarly(TrialWorker):
    """Fails before anything was evaluated, as where a file is missing."""

    def _in_progress(self) -> Any:
        raise FileNotFoundError(EARLY)


class FailsLater(TrialWorker):
    """Fails at the same step whenever it gets there, in one forget set."""

    def take(self, trial: Trial) -> None:
        super().take(trial)
        whole = self._whole = getattr(self, "_whole", Ascent.advance)

        def advance(ascent: Ascent, to: int) -> None:
            if to > LATER_FROM and trial.forget_set == "verses":
                raise ValueError(f"{LATER}\nwhich is told at length")
            whole(ascent, to)

        setattr(Ascent, "advance", advance)  # noqa: B010  # in this process alone


class FailsWide(TrialWriter):
    """Fails in the leader of a group of workers, which tells the others."""

    def stopping(self) -> bool:
        raise ValueError(LATER)


def failing_wide(workload: Any, sink: TrialWriter, **options: Any) -> Any:
    """Make wide trials whose sink fails."""
    named = import_module("tests.integration.failing")  # so workers import it
    return tune.wide_trainable(workload, named.FailsWide(sink.ledger), **options)


def main() -> None:
    """Run the command with the failures that its first argument names; but for wide trials, inline."""
    how = sys.argv.pop(1)
    if how == "wide":
        ray_executor = import_module("orchestrator.run.executors.ray_executor")  # loads Ray
        setattr(ray_executor, "_wide_trainable", failing_wide)  # noqa: B010
    else:
        make_worker = {"early": FailsEarly, "later": FailsLater}[how]
        inline.InlineExecutor.__init__.__kwdefaults__["make_worker"] = make_worker
        sys.argv += ["--executor", "inline"]
    cli.main()


if __name__ == "__main__":
    main()
