"""The command, with trials that fail: ``python -m tests.integration.failing HOW run SPEC ...``.

HOW: ``early`` (before the first evaluation, every trial), ``later`` (after step 2, in one forget set alone) or ``wide``
(in every worker of a wide trial).
"""

import sys
from importlib import import_module
from typing import Any

from orchestrator.cli import app as cli
from orchestrator.run import runner
from orchestrator.search import TrialLedger
from trainables.trial.ascent import Ascent
from trainables.tune import AscentTrainable

LATER_FROM = 2
EARLY, LATER = "no retain.parquet here", "a bug of an objective"


class FailsEarly(AscentTrainable):
    """Fails before anything was evaluated, as where a file is missing."""

    def _advance(self) -> dict[str, Any]:
        raise FileNotFoundError(EARLY)


class FailsLater(AscentTrainable):
    """Fails at the same step whenever it gets there."""

    def setup(self, config: dict[str, Any], **parameters: Any) -> None:
        super().setup(config, **parameters)
        whole = Ascent.advance

        def advance(ascent: Ascent, to: int) -> None:
            if to > LATER_FROM and self._trial.forget_set == "verses":
                raise ValueError(f"{LATER}\nwhich is told at length")
            whole(ascent, to)

        setattr(Ascent, "advance", advance)  # noqa: B010  # in this actor's process alone


class FailsWide(TrialLedger):
    """Fails in the leader of a group of workers, which tells the others."""

    def stopping(self) -> bool:
        raise ValueError(LATER)


if __name__ == "__main__":
    named = import_module("tests.integration.failing")  # so workers import it
    how = sys.argv.pop(1)
    if how == "wide":
        runner.TrialLedger = named.FailsWide
    else:
        runner.AscentTrainable = {"early": named.FailsEarly, "later": named.FailsLater}[how]
    cli.main()
