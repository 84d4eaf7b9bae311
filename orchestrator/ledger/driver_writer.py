"""What the driver of a sweep writes: proposals, what becomes of trials, what base and reference models know, logs."""

import json
import socket
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from orchestrator.identity import Stratum, canonical_json
from orchestrator.ledger.layout import BASELINES_FILE, FORGET_EXAMPLES_FILE, checkpoint_file, log_file, trial_file
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.row_changes import REOPENED, change_trial, replace_trial
from orchestrator.ledger.schema import BASELINES, FORGET_EXAMPLES, TABLES
from orchestrator.ledger.tables.parquet import encode
from orchestrator.ledger.tables.rows import to_table
from orchestrator.ledger.tables.table_files import QuarantiningTableFiles
from orchestrator.ledger.trial_setting import setting_columns
from trainables.config import Distribution
from trainables.deferred import Deferred
from trainables.records import Outcome, Status, Trial

_write_merged = Deferred("orchestrator.ledger.tables.merged", "write")  # it loads pandas


@dataclass(frozen=True)
class DriverWriter:
    """Writes a sweep's files, but for what its trials write and what the sweep is (``Manifest``)."""

    ledger: Ledger

    def propose(self, trial: Trial, *, number: int, distribution: Distribution, proposal: dict[str, Any]) -> None:
        """Record a trial before it starts; its status is null until it ends."""
        row = {
            "sweep": self.ledger.sweep,
            "trial_id": trial.trial_id,
            "stratum": Stratum.of(trial).name,
            "forget_set": trial.forget_set,
            "distribution": distribution,
            "seed": trial.seed,
            "replicate": trial.replicate,
            "objective": trial.config.objective,
            "optimizer": trial.config.optimizer,
            "learning_rate": trial.config.learning_rate,
            "batch_size": trial.config.batch_size,
            **setting_columns(trial.config, horizon=trial.horizon),
            "number": number,
            "clip_norm": trial.config.clip_norm,
            "schedule": trial.config.schedule,
            "horizon": trial.horizon,
            "target_step": trial.steps[-1],
            "config": canonical_json(trial.config.model_dump(mode="json")),
            "proposals": canonical_json([proposal]),
            "started_at": self.ledger.now(),
            "host": socket.gethostname(),
        }
        path = trial_file("trials", trial.trial_id)
        replace_trial(self.ledger, QuarantiningTableFiles(self.ledger.storage).open("trials", path), row)

    def propose_again(self, trial: Trial, proposal: dict[str, Any]) -> None:
        """Record that an ended trial was proposed once more; a trial that is asked to go further is open again."""
        row = self.ledger.trial(trial.trial_id)
        changes: dict[str, Any] = {"proposals": canonical_json([*json.loads(row["proposals"]), proposal])}
        if row["status"] == Status.COMPLETED and trial.steps[-1] > row["target_step"]:
            changes |= {"target_step": trial.steps[-1], **REOPENED}
        change_trial(self.ledger, trial.trial_id, changes)

    def reopen(self, trial: Trial) -> None:
        """Record that a trial goes on: after an interruption, or to a step that it was not asked for before."""
        change_trial(self.ledger, trial.trial_id, {"target_step": trial.steps[-1], **REOPENED})

    def reopen_failed(self) -> None:
        """Record that failed trials are to go on."""
        for row in self.ledger.trials():
            if row["status"] == Status.FAILED:
                change_trial(self.ledger, row["trial_id"], REOPENED)

    def give_up(self, trial_id: str, reason: str) -> None:
        """Record that an unfinished trial will not go on; the rows that it has published stay."""
        change_trial(self.ledger, trial_id, {"status": Status.STOPPED, "message": reason})
        self.ledger.fenced.remove(checkpoint_file(trial_id))

    def fail(self, trial_id: str, message: str) -> None:
        """Record that a trial failed; the rows that it has published stay."""
        evaluations, _ = self.ledger.published(trial_id)
        last_step = evaluations[-1].step if evaluations else 0
        elapsed_s = evaluations[-1].elapsed_s if evaluations else 0.0
        outcome = Outcome(status=Status.FAILED, last_step=last_step, message=message, elapsed_s=elapsed_s)
        change_trial(self.ledger, trial_id, {**outcome.columns(), "ended_at": self.ledger.now()})

    def judge(self, trial_id: str, reason: str) -> None:
        """Record why a trial that has reached a rung ends there; the trial reads it by ``TrialWriter.verdict``."""
        change_trial(self.ledger, trial_id, {"message": reason})

    def keep_first(self, path: str, content: bytes) -> bytes:
        """Write a file of the sweep unless it exists, and return its content."""
        self.ledger.fenced.create(path, content)
        return self.ledger.storage.read(path) or b""

    def add_to_log(self, name: str, text: str) -> None:
        """Add an error's text to the log of a trial, or of the ``PREPARATION``."""
        before = self.ledger.storage.read(log_file(name))
        content = text.encode() if before is None else before.rstrip() + b"\n\n\n" + text.encode()
        self.ledger.fenced.publish(log_file(name), content)

    def publish_baselines(self, rows: list[dict[str, Any]]) -> None:
        """Write what base and reference models know before unlearning."""
        self._publish_rows(BASELINES_FILE, BASELINES, rows)

    def publish_forget_examples(self, rows: list[dict[str, Any]]) -> None:
        """Write the texts that are unlearned."""
        self._publish_rows(FORGET_EXAMPLES_FILE, FORGET_EXAMPLES, rows)

    def _publish_rows(self, path: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
        self.ledger.fenced.publish(path, encode(to_table(schema, rows)))

    def merge(self) -> None:
        """Write merged copies of the tables, which are read faster; their trials stand by forget set, learning rate
        and id."""
        ledger = self.ledger
        ledger.fenced.require_lease()
        sources = {name: ledger.files.list(name) for name in TABLES}
        trials = ledger.table("trials", ["trial_id", "forget_set", "learning_rate"])
        trials = trials.sort_by([(name, "ascending") for name in ("forget_set", "learning_rate", "trial_id")])
        order = trials["trial_id"].to_pylist()
        for name, files in sources.items():
            paths = [path for trial_id in order if (path := trial_file(name, trial_id)) in files]
            opened = ((file.path, file.rows) for file in ledger.files.open_all(name, paths))
            _write_merged(ledger.storage, name, TABLES[name], files, opened)
