"""What the executors of probes share: the work to do, and who hears of it. It loads neither Ray nor PyTorch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import TaskFailedError
from orchestrator.ledger import Ledger
from orchestrator.preparation import SweepInputs
from orchestrator.probing.subjects import Job


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done in one replicate: the models with their probes, and what they are made of."""

    jobs: Sequence[Job]
    inputs: SweepInputs
    ledger: Ledger

    @property
    def forget_sets(self) -> list[str]:
        """The forget sets that are measured, each once."""
        return list(dict.fromkeys(job.subject.forget_set for job in self.jobs))


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Hears how each job ended."""

    done: Callable[[Job, Sequence[str]], None]
    """Called with the probes of the job that found nothing to try."""
    failed: Callable[[Job, TaskFailedError], None]
    """Called with the error of a job that failed, which is no mistake of the user's. The others go on."""


class Prober(Protocol):
    """Does the work of probes."""

    def session(self, work: Work, *, last_words: str) -> AbstractContextManager[None]:
        """Have what the work is done with while the block runs."""

    def run(self, work: Work, outcomes: Outcomes) -> None:
        """Do all jobs.

        Raises:
            Exception: the reason to stop, where the run's ``Interrupt`` is set.
            UserError: a probe cannot be done.
            RunStoppedError: the storage failed, or the sweep was taken over.
        """
