"""Probes in this process, one model after another, without Ray."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transformers.utils.logging import disable_progress_bar

from orchestrator.driver import Interrupt
from orchestrator.errors import TaskFailedError
from orchestrator.points import StartingPoint, prepare_start
from orchestrator.probing.measuring import probe_model
from orchestrator.probing.subjects import Job
from orchestrator.probing.work import Outcomes, Work
from orchestrator.resources import explained


class InlineProber:
    """Does the work of probes in this process."""

    def __init__(self, interrupt: Interrupt, report: Callable[[str], None]) -> None:
        self._interrupt = interrupt
        self._report = report

    @contextmanager
    def session(self, work: Work, *, last_words: str) -> Iterator[None]:
        """Start nothing; models load without progress bars."""
        disable_progress_bar()
        self._interrupt.waits_for = "what is measured now; a probe that is not finished is done again"
        yield

    def run(self, work: Work, outcomes: Outcomes) -> None:
        """See ``Prober``. A signal is noticed between two measurements."""
        with explained("measuring base and reference models"):
            start = prepare_start(work.ledger, work.inputs, work.forget_sets, report=self._reported)
        for job in work.jobs:
            self._do(job, work, start, outcomes)

    def _do(self, job: Job, work: Work, start: StartingPoint, outcomes: Outcomes) -> None:
        try:
            with explained(str(job)):
                without = probe_model(
                    job,
                    inputs=work.inputs,
                    start=start,
                    ledger=work.ledger,
                    report=self._reported,
                    pause=self._interrupt.raise_if_set,
                )
        except TaskFailedError as error:
            outcomes.failed(job, error)
        else:
            outcomes.done(job, without)

    def _reported(self, doing: str) -> None:
        self._interrupt.raise_if_set()
        self._report(doing)
