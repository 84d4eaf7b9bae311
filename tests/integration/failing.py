"""The command, with wide trials that fail in every worker: ``python -m tests.integration.failing run SPEC ...``."""

from importlib import import_module
from typing import Any

from orchestrator.cli import app as cli
from orchestrator.ledger import TrialWriter
from trainables import tune

LATER = "a bug of an objective"


class FailsWide(TrialWriter):
    """Fails in the leader of a group of workers, which tells the others."""

    def stopping(self) -> bool:
        raise ValueError(LATER)


def failing_wide(workloads: Any, sink: TrialWriter, **options: Any) -> Any:
    """Make wide trials whose sink fails."""
    named = import_module("tests.integration.failing")  # so workers import it
    return tune.wide_trainable(workloads, named.FailsWide(sink.ledger), **options)


def main() -> None:
    """Run the command with the failure."""
    ray_executor = import_module("orchestrator.run.executors.ray_executor")  # loads Ray
    setattr(ray_executor, "_wide_trainable", failing_wide)  # noqa: B010
    cli.main()


if __name__ == "__main__":
    main()
