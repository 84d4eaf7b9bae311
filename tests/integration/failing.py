"""The command, with wide trials that fail in every worker: ``python -m tests.integration.failing run SPEC ...``."""

from importlib import import_module
from typing import Any

from orchestrator.cli import app as cli
from orchestrator.ledger import TrialWriter
from trainables import tune
from trainables.deferred import Deferred

LATER = "a bug of an objective"


class FailsWide(TrialWriter):
    """Fails in the leader of a group of workers, which tells the others."""

    def stopping(self) -> bool:
        raise ValueError(LATER)


class FailingWide(tune.WideTrainable):
    """Wide trials whose sink fails."""

    def setup(self, config: dict[str, Any], *, sink: TrialWriter, **of_group: Any) -> None:
        super().setup(config, sink=FailsWide(sink.ledger), **of_group)


def main() -> None:
    """Run the command with the failure."""
    ray_executor = import_module("orchestrator.run.executors.ray_executor")  # loads Ray
    setattr(ray_executor, "WIDE_TRAINABLE", Deferred("tests.integration.failing", "FailingWide"))  # noqa: B010
    cli.main()


if __name__ == "__main__":
    main()
