"""The committed Parquet files of a sweep: the only source of truth.

Each table has one file a trial, named by its key and replaced atomically as the trial grows. So a plain
``read_parquet('<sweep>/evaluations/*.parquet')`` sees every committed row exactly once, at any moment, and publishing
again changes nothing. A file that is damaged is named in a warning and left out; nothing that reads moves or writes a
file. Only ``mend``, before a sweep goes on, sets damaged files aside, under ``quarantine/``.
"""

import contextlib
import json
import socket
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from orchestrator.driver import is_stopping, require_lease
from orchestrator.errors import IrregularFileError, LedgerWarning, StorageError, SweepError
from orchestrator.identity import canonical_json, stratum_name
from orchestrator.ledger import merged
from orchestrator.ledger.checked_rows import find_problem
from orchestrator.ledger.manifest import parse_manifest
from orchestrator.ledger.parquet import encode
from orchestrator.ledger.schema import BASELINES, FORGET_EXAMPLES, TABLES, TRIALS, to_table
from orchestrator.ledger.table_builder import TableBuilder
from orchestrator.ledger.table_files import MendingTableFiles, TableFile, TableFiles, trial_file
from orchestrator.ledger.trial_files import LastTrial, proposed_trial
from orchestrator.ledger.trial_setting import setting_columns, setting_of
from orchestrator.storage import Storage
from orchestrator.yaml_text import text_of
from trainables.config import Distribution
from trainables.records import ENDED, EvaluationRecord, ExampleRecord, Outcome, Status, Trial

SPEC, MANIFEST = "spec.yaml", "sweep.json"
BASELINES_FILE, FORGET_EXAMPLES_FILE = "references/baselines.parquet", "references/forget_sets.parquet"
PREPARATION = "preparation"
"""The log of what went wrong with base and reference models, beside those of the trials."""
DECISIONS = "halving"
"""The folder of what rungs decided of settings."""
FOLDERS = (
    "trials", "evaluations", "examples", "checkpoints", "references", "merged", "optuna", "report", "logs", DECISIONS,
    "quarantine",
)  # fmt: skip
"""What a sweep writes into, beside ``drivers``."""
_OPEN = {"status": None, "message": None, "ended_at": None}
"""What the row of a trial says that has not ended."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """A sweep's files. Workers publish rows through it, the driver proposals, readers read. Picklable."""

    storage: Storage
    sweep: str
    now: Callable[[], datetime] = _now
    driver: int | None = None
    """Number of the driver (``lease``) that this ledger is written for, in its own process and in its trials'; once
    another driver follows, or its file is gone, no further write of rows, checkpoints or spec begins:
    ``LeaseLostError``, ``SweepGoneError``. None: nobody watches."""
    skipped: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Damaged files that reading has left out so far, by path, and why. Each was warned of."""
    _remarks: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    _last_trial: LastTrial = field(default_factory=LastTrial, init=False, repr=False, compare=False)

    def propose(self, trial: Trial, *, number: int, distribution: Distribution, proposal: dict[str, Any]) -> None:
        """Record a trial before it starts; its status is null until it ends."""
        row = {
            "sweep": self.sweep,
            "trial_id": trial.trial_id,
            "stratum": stratum_name(trial.forget_set, trial.seed),
            "forget_set": trial.forget_set,
            "distribution": distribution,
            "seed": trial.seed,
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
            "started_at": self.now(),
            "host": socket.gethostname(),
        }
        before = MendingTableFiles(self.storage).open("trials", trial_file("trials", trial.trial_id))
        self._replace_trial(before, row)

    def propose_again(self, trial: Trial, proposal: dict[str, Any]) -> None:
        """Record that an ended trial was proposed once more; asked to go further, it is open again."""
        row = self.trial(trial.trial_id)
        changes: dict[str, Any] = {"proposals": canonical_json([*json.loads(row["proposals"]), proposal])}
        if row["status"] == Status.COMPLETED and trial.steps[-1] > row["target_step"]:
            changes |= {"target_step": trial.steps[-1], **_OPEN}
        self._change_trial(trial.trial_id, changes)

    def reopen(self, trial: Trial) -> None:
        """Record that a trial goes on: after an interruption, or to a step that it was not asked for before."""
        self._change_trial(trial.trial_id, {"target_step": trial.steps[-1], **_OPEN})

    def reopen_failed(self) -> None:
        """Record that failed trials are to go on."""
        for row in self.trials():
            if row["status"] == Status.FAILED:
                self._change_trial(row["trial_id"], _OPEN)

    def give_up(self, trial_id: str, reason: str) -> None:
        """Record that an unfinished trial will not go on; the rows it had published stand."""
        self._change_trial(trial_id, {"status": Status.STOPPED, "message": reason})
        self.discard_checkpoint(trial_id)

    def stopping(self) -> bool:
        """Tell a trial whether its sweep's driver has asked to stop."""
        return self.driver is not None and is_stopping(self.storage, self.driver)

    def judge(self, trial_id: str, reason: str) -> None:
        """Record why a trial that has reached a rung is to end there. The trial finds it by ``verdict``."""
        self._change_trial(trial_id, {"message": reason})

    def verdict(self, trial_id: str) -> str | None:
        """Return why a trial that has reached a rung is to end there; None: it goes on."""
        reason: str | None = self.trial(trial_id)["message"]
        return reason

    def keep_first(self, path: str, content: bytes) -> bytes:
        """Write a file of the sweep unless it is there; return what it has now."""
        self._require_lease()
        self.storage.create(path, content)
        return self.storage.read(path) or b""

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
    ) -> None:
        """Publish all of a trial's rows: examples first and the outcome last, so what is visible is complete.

        A worker that was taken for dead may publish late, while another goes on with its trial: no row of either is
        taken back (but where both write within the same moment), and a trial that ended does not become a stopped one.
        """
        path = trial_file("evaluations", trial_id)
        rows = self._last_trial.rows(trial_id, self.trial)
        visible = self.storage.read(path)
        if visible is not None and visible != rows.evaluations_file:
            others, their_examples = self.published(trial_id)
            evaluated = {evaluation.step for evaluation in others}  # examples are published first
            rows.keep(evaluations=others, examples=[e for e in their_examples if e.step in evaluated])
        evaluations_file = rows.file("evaluations", rows.with_others("evaluations", evaluations))
        examples_file = rows.file("examples", rows.with_others("examples", examples))
        self._publish(trial_file("examples", trial_id), examples_file)
        self._publish(path, evaluations_file)
        rows.evaluations_file = evaluations_file
        if outcome is not None and not (outcome.status is Status.STOPPED and self.trial(trial_id)["status"] in ENDED):
            ended = {**vars(outcome), "ended_at": self.now(), "host": socket.gethostname()}
            self._change_trial(trial_id, ended)

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """Read back what ``publish`` wrote of a trial."""
        evaluations = [
            EvaluationRecord(**_only(EvaluationRecord, row) | {"status": Status(row["status"])})
            for row in self._read("evaluations", trial_id)
        ]
        examples = [ExampleRecord(**_only(ExampleRecord, row)) for row in self._read("examples", trial_id)]
        by_step = attrgetter("step")
        return sorted(evaluations, key=by_step), sorted(examples, key=by_step)

    def fail(self, trial_id: str, message: str) -> None:
        """Record that a trial failed; the rows it had published stand."""
        evaluations, _ = self.published(trial_id)
        last_step = evaluations[-1].step if evaluations else 0
        elapsed_s = evaluations[-1].elapsed_s if evaluations else 0.0
        outcome = Outcome(status=Status.FAILED, last_step=last_step, message=message, elapsed_s=elapsed_s)
        self._change_trial(trial_id, {**vars(outcome), "ended_at": self.now()})

    def add_to_log(self, name: str, text: str) -> None:
        """Add what went wrong to the log of a trial, or of the ``preparation``: ``logs/<name>.txt``."""
        before = self.storage.read(_log(name))
        self._publish(_log(name), text.encode() if before is None else before.rstrip() + b"\n\n\n" + text.encode())

    def log(self, name: str) -> str | None:
        """Read the log of a trial, or of the ``preparation``; None: nothing went wrong, as far as is known."""
        content = self.storage.read(_log(name))
        return None if content is None else content.decode(errors="replace")

    def trial(self, trial_id: str) -> dict[str, Any]:
        """Read one trial's row.

        Raises:
            StorageError: the row is gone, or was damaged.
        """
        return _only_row(self._require_trial(trial_id))

    def trials(self) -> list[dict[str, Any]]:
        """Read every trial's row, by stratum and order of proposal."""
        rows = self.table("trials").to_pylist()
        return sorted(rows, key=lambda row: (row["stratum"], row["number"]))

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read a whole table, or only some of its columns, as it is committed now."""
        dataset = self.dataset(name)
        try:
            rows = dataset.to_table(columns=columns)
            if isinstance(dataset, ds.InMemoryDataset) or find_problem(name, rows) is None:
                return rows
        except MemoryError as error:  # Arrow's own is one too
            raise StorageError(f"{self.storage.uri}: too little memory to read its {name} ({error})") from error
        except (pa.ArrowException, OSError):
            pass
        # a merged copy is damaged, or was just replaced: the trials' own files have every row
        return self.dataset(name, use_merged=False).to_table(columns=columns)

    def dataset(self, name: str, *, use_merged: bool = True) -> ds.Dataset:
        """Open a table, as it is committed now: from its merged copies that are current, and trials' own files.

        A damaged copy shows only when it is scanned, as an error of whoever scans; without it every row is there too.
        """
        schema = TABLES[name]
        files = self._files.list(name)
        copies = merged.find(self.storage, name, files) if use_merged else []
        covered = frozenset[str]().union(*(copy.sources for copy in copies))
        rest = TableBuilder()
        rest.add(schema.empty_table())
        for file in self._files.open_all(name, [path for path in files if path not in covered]):
            rest.add(file.rows)
        direct = ds.dataset(rest.table())
        return ds.dataset([*(copy.dataset.replace_schema(schema) for copy in copies), direct]) if copies else direct

    def merge(self) -> None:
        """Write merged copies of the tables, sorted by forget set, learning rate and step, for readers in a hurry."""
        self._require_lease()
        sources = {name: self._files.list(name) for name in TABLES}
        trials = self.table("trials", ["trial_id", "forget_set", "learning_rate"])
        trials = trials.sort_by([(name, "ascending") for name in ("forget_set", "learning_rate", "trial_id")])
        order = trials["trial_id"].to_pylist()
        for name, files in sources.items():
            paths = [path for trial_id in order if (path := trial_file(name, trial_id)) in files]
            opened = ((file.path, file.rows) for file in self._files.open_all(name, paths))
            merged.write(self.storage, name, TABLES[name], files, opened)

    def repair(self) -> None:
        """Before a sweep goes on: rewrite files of older schema versions, and open trials again that lost rows.

        A trial whose own row is lost gets it back from its evaluations, which say what was proposed. A trial is whole
        if its last step is among its evaluations, and its examples are of the same steps. Rewriting goes backwards
        through the names, for a reader that takes the columns of the first file from all. Damaged files are set aside.

        Raises:
            IrregularFileError: a folder of the sweep is a link or a file: what becomes of it is its owner's to say.
        """
        self._require_lease()
        for folder in FOLDERS:
            self.storage.files(folder, "")
        mending = MendingTableFiles(self.storage)
        mending.open("baselines", BASELINES_FILE)
        mending.open("forget_sets", FORGET_EXAMPLES_FILE)
        steps: dict[str, dict[str, set[int]]] = {"evaluations": {}, "examples": {}}
        trials: list[dict[str, Any]] = []
        known: set[str] = set()
        for name in TABLES:
            for file in mending.open_all(name, list(reversed(mending.list(name)))):
                if file.is_outdated:
                    self._publish(file.path, encode(file.rows))
                if name == "trials":
                    trials.append(_only_row(file))
                    known.add(trials[-1]["trial_id"])
                    continue
                if PurePosixPath(file.path).stem not in known and (row := self._restored(file)) is not None:
                    trials.append(row)
                for trial_id in file.rows["trial_id"].unique().to_pylist():
                    steps[name][trial_id] = set(file.rows["step"].unique().to_pylist())
        self._open_again(trials, steps, mending)

    def _open_again(
        self, trials: list[dict[str, Any]], steps: dict[str, dict[str, set[int]]], mending: MendingTableFiles
    ) -> None:
        """Open trials that are not whole, by the steps of their rows in each table; what is half of them goes."""
        checkpoints = self.storage.files("checkpoints", ".safetensors")
        for trial_id, evaluated in steps["evaluations"].items():
            if not evaluated <= steps["examples"].get(trial_id, set()):
                for name in ("evaluations", "examples"):
                    mending.quarantine(trial_file(name, trial_id), "its trial lost rows, and runs again")
                steps["evaluations"][trial_id] = set()
                self.discard_checkpoint(trial_id)  # it is of steps whose rows are lost
        for row in trials:
            trial_id = row["trial_id"]
            evaluated = steps["evaluations"].get(trial_id, set())
            if row["status"] in (Status.DIVERGED, Status.COLLAPSED) and _checkpoint(trial_id) in checkpoints:
                self.discard_checkpoint(trial_id)  # a crash came before
            if row["status"] in ENDED and row["last_step"] not in {0, *evaluated}:
                self._change_trial(trial_id, _OPEN)

    def _restored(self, evaluations: TableFile) -> dict[str, Any] | None:
        """Put back the row of a trial that is lost, as it was proposed; it is open again, and will end as it did.

        None: its evaluations do not say what was proposed, or this is the file of its examples.
        """
        trial_id, proposed = PurePosixPath(evaluations.path).stem, proposed_trial(evaluations.content)
        with contextlib.suppress(pa.ArrowException):
            anew = {"started_at": self.now(), "host": socket.gethostname()}
            rows = to_table(TRIALS, [{**setting_of(proposed), **proposed, **anew}])
            if proposed.get("trial_id") == trial_id and find_problem("trials", rows) is None:
                self._publish(trial_file("trials", trial_id), encode(rows))
                row: dict[str, Any] = rows.to_pylist()[0]
                return row
        return None

    def save_checkpoint(self, trial_id: str, payload: bytes) -> None:
        """Replace the trial's checkpoint."""
        self._publish(_checkpoint(trial_id), payload)

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """Read the trial's checkpoint, if there is one."""
        try:
            return self.storage.read(_checkpoint(trial_id))
        except IrregularFileError as error:
            self._files.leave_out(_checkpoint(trial_id), str(error))
            return None

    def discard_checkpoint(self, trial_id: str) -> None:
        """Forget the trial's checkpoint, if there is one."""
        self._require_lease()
        self.storage.remove(_checkpoint(trial_id))

    def spec_text(self) -> str | None:
        """Read the resolved spec of the sweep; None where the sweep does not exist.

        Raises:
            SweepError: it is no text.
        """
        content = self.storage.read(SPEC)
        return text_of(content, f"{self.storage.uri}/{SPEC}") if content is not None else None

    def has_begun(self) -> bool:
        """Tell whether any trial was proposed.

        A sweep of which there is only what it is meant to be, and what its models know, may become another: the models
        are kept elsewhere, and nothing is lost.
        """
        return any(self.storage.files(folder, ".parquet") for folder in ("trials", "evaluations"))

    def has_evaluations(self) -> bool:
        """Tell whether any trial was evaluated."""
        return bool(self.storage.files("evaluations", ".parquet"))

    def create(self, spec_text: str, manifest: dict[str, Any], session: dict[str, Any]) -> None:
        """Write what the sweep is and what it runs on; one that goes on keeps its first session, and notes the new one.

        The spec comes last: a sweep exists once its spec does. In one that goes on it comes first: after a crash in
        between, the next session still finds what changed.
        """
        before = self.manifest() if self.spec_text() is not None else {}
        noted = {**before, **manifest, "resumed": [*before.get("resumed", []), session]}
        manifest = noted if before else {**manifest, **session}
        files = {
            MANIFEST: _as_json(manifest),
            SPEC: spec_text.encode(),
        }
        for name in reversed(files) if before else files:
            self._publish(name, files[name])

    def describe(self, spec_text: str, manifest: dict[str, Any]) -> None:
        """Write what the data has settled of a sweep that ``create`` wrote without it."""
        self._publish(MANIFEST, _as_json({**self.manifest(), **manifest}))
        self._publish(SPEC, spec_text.encode())

    def withdraw(self) -> None:
        """Take back what ``create`` wrote, of a sweep that turned out not to be possible."""
        for name in (SPEC, MANIFEST):
            self.storage.remove(name)

    def note(self, facts: dict[str, Any]) -> None:
        """Add to what ``sweep.json`` says of the session that ``create`` wrote last."""
        manifest = self.manifest()
        ([manifest, *manifest.get("resumed", [])])[-1].update(facts)
        self._publish(MANIFEST, _as_json(manifest))

    def manifest(self) -> dict[str, Any]:
        """Read ``sweep.json``; empty where there is none.

        Raises:
            SweepError: it is damaged.
        """
        content = self.storage.read(MANIFEST)
        try:
            return {} if content is None else parse_manifest(content)
        except ValueError as error:
            raise SweepError(
                f"{self.storage.uri}/{MANIFEST}: {error}; put a copy back, or remove it and go on without what it said "
                f"of data, models and code"
            ) from None

    def known_manifest(self) -> dict[str, Any]:
        """Read ``sweep.json``, for who only shows it: one that is damaged is left out."""
        try:
            return self.manifest()
        except (SweepError, IrregularFileError) as error:
            self._files.leave_out(MANIFEST, str(error).removeprefix(f"{self.storage.uri}/{MANIFEST}: "))
            return {}

    def publish_baselines(self, rows: list[dict[str, Any]]) -> None:
        """Write what base and reference models know before unlearning."""
        self._publish_rows(BASELINES_FILE, BASELINES, rows)

    def baselines(self) -> list[dict[str, Any]]:
        """Read what base and reference models know before unlearning; empty where it was not measured."""
        file = self._files.open("baselines", BASELINES_FILE)
        return [] if file is None else file.rows.to_pylist()

    def publish_forget_examples(self, rows: list[dict[str, Any]]) -> None:
        """Write the texts that are unlearned."""
        self._publish_rows(FORGET_EXAMPLES_FILE, FORGET_EXAMPLES, rows)

    def forget_examples(self) -> pa.Table:
        """Read the texts that are unlearned; empty in a sweep that was written without them."""
        file = self._files.open("forget_sets", FORGET_EXAMPLES_FILE)
        return FORGET_EXAMPLES.empty_table() if file is None else file.rows

    def remark(self, message: str) -> None:
        """Warn of something about this sweep, once."""
        if message not in self._remarks:
            self._remarks.add(message)
            warnings.warn(f"{self.storage.uri}: {message}", LedgerWarning, stacklevel=3)

    def _require_trial(self, trial_id: str) -> TableFile:
        path = trial_file("trials", trial_id)
        file = self._files.open("trials", path)
        if file is None or not file.rows.num_rows:
            self._require_lease()  # the whole sweep may be gone
            raise StorageError(
                f"{self.storage.uri}/{path}: the row of a trial is gone; resuming the sweep proposes it again"
            )
        return file

    def _change_trial(self, trial_id: str, changes: Mapping[str, Any]) -> None:
        """Change columns of a trial's row."""
        before = self._require_trial(trial_id)
        self._replace_trial(before, {**_only_row(before), **changes})

    def _replace_trial(self, before: TableFile | None, row: dict[str, Any]) -> None:
        """Replace a trial's row, if it changes. The file begins with the one before: see ``parquet.encode``."""
        rows = to_table(TRIALS, [row])
        if before is None or not before.rows.equals(rows):
            after = None if before is None else before.content
            self._publish(trial_file("trials", row["trial_id"]), encode(rows, after=after))

    def _publish(self, path: str, content: bytes) -> None:
        self._require_lease()
        self.storage.publish(path, content)

    def _publish_rows(self, path: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
        self._publish(path, encode(to_table(schema, rows)))

    def _require_lease(self) -> None:
        if self.driver is not None:
            require_lease(self.storage, self.driver)

    def _read(self, name: str, trial_id: str) -> list[dict[str, Any]]:
        file = self._files.open(name, trial_file(name, trial_id))
        return [] if file is None else file.rows.to_pylist()

    @property
    def _files(self) -> TableFiles:
        return TableFiles(self.storage, self.skipped)


def _only_row(file: TableFile) -> dict[str, Any]:
    row: dict[str, Any] = file.rows.to_pylist()[0]
    return row


def _as_json(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"


def _checkpoint(trial_id: str) -> str:
    return f"checkpoints/{trial_id}.safetensors"


def _log(name: str) -> str:
    return f"logs/{name}.txt"


def _only(record: type, row: dict[str, Any]) -> dict[str, Any]:
    return {field.name: row[field.name] for field in fields(record)}
