"""What a sweep's trials write: their rows, outcomes and checkpoints."""

import socket
from dataclasses import dataclass, field

from orchestrator.driver import is_stopping
from orchestrator.ledger.layout import checkpoint_file, trace_file, trial_file
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.row_changes import change_trial
from orchestrator.ledger.tables.trial_files import LastTrial
from trainables.records import ENDED, EvaluationRecord, ExampleRecord, Outcome, Status


@dataclass(frozen=True)
class TrialWriter:
    """Publishes the rows of trials, one trial after another, and keeps their checkpoints. Picklable.

    It is the ``TrialSink`` of a sweep's trials.
    """

    ledger: Ledger
    _last_trial: LastTrial = field(default_factory=LastTrial, init=False, repr=False, compare=False)

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
    ) -> None:
        """Publish all of a trial's rows: examples first and the outcome last, so what is visible is complete.

        A worker that was taken for dead may publish late, while another goes on with its trial. No row of either is
        taken back (unless both write within the same moment), and a trial that ended does not become a stopped one.
        """
        files = self._last_trial.files(trial_id, self.ledger.trial)
        evaluations_path, examples_path = (trial_file(name, trial_id) for name in ("evaluations", "examples"))
        visible = self.ledger.storage.read(evaluations_path)
        if visible is not None and not files.has_written("evaluations", visible):
            others, their_examples = self.published(trial_id)
            evaluated = {evaluation.step for evaluation in others}  # examples are published first
            files.take_up("evaluations", visible, others)
            their_file = self.ledger.storage.read(examples_path)
            files.take_up("examples", their_file, [e for e in their_examples if e.step in evaluated])
        last = outcome is not None and outcome.status in ENDED
        evaluations_file = files.file("evaluations", files.with_others("evaluations", evaluations), last=last)
        examples_file = files.file("examples", files.with_others("examples", examples), last=last)
        self.ledger.fenced.publish(examples_path, examples_file)
        self.ledger.fenced.publish(evaluations_path, evaluations_file)
        if outcome is not None and not self._ended_before(trial_id, outcome):
            ended = {**outcome.columns(), "ended_at": self.ledger.now(), "host": socket.gethostname()}
            change_trial(self.ledger, trial_id, ended)

    def _ended_before(self, trial_id: str, outcome: Outcome) -> bool:
        """Return whether a worker stopped with a trial that another worker has brought to its end."""
        return outcome.status is Status.STOPPED and self.ledger.trial(trial_id)["status"] in ENDED

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """See ``Ledger.published``."""
        return self.ledger.published(trial_id)

    def save_checkpoint(self, trial_id: str, payload: bytes) -> None:
        """Replace the trial's checkpoint."""
        self.ledger.fenced.publish(checkpoint_file(trial_id), payload)

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """See ``Ledger.load_checkpoint``."""
        return self.ledger.load_checkpoint(trial_id)

    def discard_checkpoint(self, trial_id: str) -> None:
        """Remove the trial's checkpoint, if there is one."""
        self.ledger.fenced.remove(checkpoint_file(trial_id))

    def verdict(self, trial_id: str) -> str | None:
        """Return why a trial ends at the rung that it has reached; None: it goes on."""
        reason: str | None = self.ledger.trial(trial_id)["message"]
        return reason

    def save_trace(self, trial_id: str, trace: bytes) -> None:
        """Replace the trial's trace."""
        self.ledger.fenced.publish(trace_file(trial_id), trace)

    def stopping(self) -> bool:
        """Return whether the sweep's driver has asked its trials to stop."""
        return self.ledger.driver is not None and is_stopping(self.ledger.storage, self.ledger.driver)
