"""The failures of a run's trials: kept in the sweep's logs, and judged whether another try makes sense."""

import socket
from collections import Counter
from dataclasses import replace

from orchestrator.errors import TrialsFailAlikeError
from orchestrator.ledger import DriverWriter, Ledger
from orchestrator.safe_text import command
from orchestrator.storage import masked
from trainables.failures import LONGEST_MESSAGE, Failure, first_line
from trainables.records import Status

ALIKE = 3
"""How many first trials of a run may fail alike, with nothing evaluated, before the run stops."""
REASONS_SHOWN = 5
"""How many different reasons are shown at the end of a run."""
WORKER_DIED = "the worker died"


def dead_worker(said: str, cause: BaseException | None = None) -> Failure:
    """Describe how a worker's process ended, where there is no exception of ours.

    Args:
        said: everything that Ray reports of it.
        cause: what Ray, not the trial, raised in the worker.
    """
    lines = [line.strip() for line in said.strip().splitlines()]
    telling = [line for line in lines if "is dead because" in line or "exit detail" in line.lower()]
    reason = telling[0] if telling else first_line(cause) if cause is not None else "".join(lines[:1])
    return Failure(
        kind=WORKER_DIED,
        message=f"{WORKER_DIED}: {reason[:LONGEST_MESSAGE]}" if reason else WORKER_DIED,
        details=said.strip() or WORKER_DIED,
        step=None,
    )


class Failures:
    """The failures of one run of a sweep."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last: dict[str, tuple[str, int | None]] = {}
        """The kind and the step of each trial's last failure, by trial id."""
        self._begun: list[str] = []
        """Trials in the order in which they were handed out."""
        self._ended: dict[str, Failure] = {}
        """Trials that failed for good."""
        self._has_results = False

    def begun(self, trial_id: str) -> None:
        """Note that a trial was handed out."""
        if trial_id not in self._begun:
            self._begun.append(trial_id)

    def has_results(self) -> None:
        """Note that a trial was evaluated, or ended otherwise than by a failure: the sweep as such works."""
        self._has_results = True

    def keep(self, trial_id: str, failure: Failure) -> Failure:
        """Add a failure to the trial's log in the sweep, and return it as it may be shown: without keys in URIs."""
        failure = replace(failure, message=masked(failure.message), details=masked(failure.details))
        where = "" if failure.step is None else f", after step {failure.step}"
        head = f"{self._ledger.now().isoformat(timespec='seconds')}, driven from {socket.gethostname()}{where}"
        DriverWriter(self._ledger).add_to_log(trial_id, f"{head}\n{failure.message}\n\n{failure.details.rstrip()}\n")
        return failure

    def may_retry(self, trial_id: str, failure: Failure) -> bool:
        """Return whether another try could help.

        The death of a worker says nothing about the trial. An exception may pass, such as of a GPU that another trial
        had filled; the same exception at the same step is not tried a third time, and a user's mistake not a second.
        """
        again = (failure.kind, failure.step)
        before, self._last[trial_id] = self._last.get(trial_id), again
        return failure.kind == WORKER_DIED or not (failure.is_users or again == before)

    def failed(self, trial_id: str, failure: Failure) -> None:
        """Note that a trial failed for good.

        Raises:
            TrialsFailAlikeError: so did the first ``ALIKE``, nothing was evaluated, and no trial that began before
                the last of them still runs.
        """
        self._ended[trial_id] = failure
        if self._has_results or len(self._ended) < ALIKE:
            return
        last = max(self._begun.index(trial) for trial in self._ended)
        if len({failure.kind for failure in self._ended.values()}) > 1 or last + 1 > len(self._ended):
            return
        uri = self._ledger.storage.uri
        raise TrialsFailAlikeError(
            f"the first {len(self._ended)} trials failed alike, and nothing was evaluated: {failure.message}\n"
            f"the whole of it: {command('logs', uri, '--trial', trial_id)}\n"
            f"once it is put right: {command('resume', uri, '--retry-failed')}"
        )


def failures_described(ledger: Ledger) -> str:
    """Describe a sweep's failed trials: how many, why, where their logs are, and how to run them again."""
    trials = ledger.trials()
    failed = [row for row in trials if row["status"] == Status.FAILED]
    reasons = Counter(row["message"] for row in failed)
    example = {row["message"]: row["trial_id"] for row in reversed(failed)}
    uri = ledger.storage.uri
    many = "every trial failed" if len(failed) == len(trials) else f"{len(failed)} of {len(trials)} trials failed"
    return "\n".join(
        [
            many,
            *(
                f"  {count} of: {reason}; see {command('logs', uri, '--trial', example[reason])}"
                for reason, count in reasons.most_common(REASONS_SHOWN)
            ),
            *([f"  and {len(reasons) - REASONS_SHOWN} other reasons"] if len(reasons) > REASONS_SHOWN else []),
            f"run them again: {command('resume', uri, '--retry-failed')}",
        ]
    )
