"""The committed Parquet files of a sweep, the only source of truth, for reading.

Each table has one file a trial, named by its key and replaced atomically as the trial grows. So a plain
``read_parquet('<sweep>/evaluations/*.parquet')`` sees every committed row exactly once, at any moment, and publishing
again changes nothing. A file that is damaged is named in a warning and left out; reading never moves or writes a file.

What writes is made from a ``Ledger``: ``TrialWriter``, ``DriverWriter``, ``Ledger.manifest`` and ``repair_ledger``.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from orchestrator.driver import FencedStorage
from orchestrator.errors import IrregularFileError, LedgerWarning, StorageError
from orchestrator.ledger.baselines import Baselines
from orchestrator.ledger.layout import BASELINES_FILE, FORGET_EXAMPLES_FILE, checkpoint_file, log_file, trial_file
from orchestrator.ledger.manifest import Manifest
from orchestrator.ledger.schema import FORGET_EXAMPLES, PROBES, TABLES
from orchestrator.ledger.tables.checked_rows import find_problem
from orchestrator.ledger.tables.rows import metrics_in
from orchestrator.ledger.tables.table_builder import TableBuilder
from orchestrator.ledger.tables.table_files import TableFile, TableFiles
from orchestrator.storage import Storage
from trainables.deferred import Deferred
from trainables.records import EvaluationRecord, ExampleRecord, Status

if TYPE_CHECKING:
    import pyarrow.dataset as ds

    from orchestrator.ledger.tables.merged import MergedCopy

# these load pyarrow.dataset, and that pandas, which takes a quarter of a second
_merged_copies: Callable[..., list["MergedCopy"]] = Deferred("orchestrator.ledger.tables.merged", "find")
_dataset_of: Callable[..., "ds.Dataset"] = Deferred("orchestrator.ledger.tables.merged", "dataset_of")

Record = TypeVar("Record", EvaluationRecord, ExampleRecord)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """A sweep's files: what it is called, where they are, and what they say. Picklable."""

    storage: Storage
    sweep: str
    now: Callable[[], datetime] = _now
    driver: int | None = None
    """Number of the driver's lease, for what writes in the driver's process and in its trials': see ``fenced``. None:
    writes are not checked."""
    skipped: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Damaged files that reading has left out so far: the reason by path. Each was warned of."""
    _remarks: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def fenced(self) -> FencedStorage:
        """The same files for writing: no write begins once another driver follows ``driver``, or its file is gone."""
        return FencedStorage(storage=self.storage, driver=self.driver)

    @property
    def manifest(self) -> Manifest:
        """What the sweep is, and what its sessions ran on."""
        return Manifest(fenced=self.fenced, skip=self.files.skip)

    @property
    def files(self) -> TableFiles:
        """The files of the tables, one by one."""
        return TableFiles(self.storage, self.skipped)

    def has_begun(self) -> bool:
        """Return whether any trial was proposed.

        A sweep without trials may still become another one: its models are kept elsewhere, and nothing is lost.
        """
        return any(self.storage.files(folder, ".parquet") for folder in ("trials", "evaluations"))

    def has_evaluations(self) -> bool:
        """Return whether any trial was evaluated."""
        return bool(self.storage.files("evaluations", ".parquet"))

    def open_trial(self, trial_id: str) -> TableFile:
        """Read the file of one trial's row.

        Raises:
            StorageError: the row is gone, or was damaged.
        """
        path = trial_file("trials", trial_id)
        file = self.files.open("trials", path)
        if file is None or not file.rows.num_rows:
            self.fenced.require_lease()  # the whole sweep may be gone
            raise StorageError(
                f"{self.storage.uri}/{path}: the row of a trial is gone; resuming the sweep proposes it again"
            )
        return file

    def trial(self, trial_id: str) -> dict[str, Any]:
        """Read one trial's row. Raises what ``open_trial`` does."""
        return self.open_trial(trial_id).only_row()

    def trials(self) -> list[dict[str, Any]]:
        """Read every trial's row, by stratum and order of proposal."""
        rows = self.table("trials").to_pylist()
        return sorted(rows, key=lambda row: (row["stratum"], row["number"]))

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """Read the evaluations and examples that a trial has published so far, by step."""
        evaluations = [
            _record(EvaluationRecord, "evaluations", row, status=Status(row["status"]))
            for row in self._rows("evaluations", trial_id)
        ]
        examples = [_record(ExampleRecord, "examples", row) for row in self._rows("examples", trial_id)]
        by_step = attrgetter("step")
        return sorted(evaluations, key=by_step), sorted(examples, key=by_step)

    def _rows(self, name: str, trial_id: str) -> list[dict[str, Any]]:
        file = self.files.open(name, trial_file(name, trial_id))
        return [] if file is None else file.rows.to_pylist()

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read a whole table, or only some of its columns, as it is committed now."""
        dataset, holds_copies = self._open(name, use_merged=True)
        try:
            rows = dataset.to_table(columns=columns)
            if not holds_copies or find_problem(name, rows) is None:
                return rows
        except MemoryError as error:  # Arrow's own is one too
            raise StorageError(f"{self.storage.uri}: too little memory to read its {name} ({error})") from error
        except (pa.ArrowException, OSError):
            pass
        # a merged copy is damaged, or was just replaced: the trials' own files have every row
        return self.dataset(name, use_merged=False).to_table(columns=columns)

    def dataset(self, name: str, *, use_merged: bool = True) -> "ds.Dataset":
        """Open a table as it is committed now: current merged copies, and the trials' own files for what they lack.

        A damaged copy is only found when it is scanned, which then raises an error of Arrow's; with ``use_merged``
        false every row comes from the trials' own files.
        """
        return self._open(name, use_merged=use_merged)[0]

    def _open(self, name: str, *, use_merged: bool) -> tuple["ds.Dataset", bool]:
        """Open a table, and return with it whether merged copies are part of it."""
        schema = TABLES[name]
        files = self.files.list(name)
        copies = _merged_copies(self.storage, name, files) if use_merged else []
        covered = frozenset[str]().union(*(copy.sources for copy in copies))
        rest = TableBuilder()
        rest.add(schema.empty_table())
        for file in self.files.open_all(name, [path for path in files if path not in covered]):
            rest.add(file.rows)
        return _dataset_of(copies, rest.table()), bool(copies)

    def baselines(self) -> Baselines:
        """Read what base and reference models know before unlearning; without rows where it was not measured."""
        file = self.files.open("baselines", BASELINES_FILE)
        return Baselines([] if file is None else file.rows.to_pylist())

    def forget_examples(self) -> pa.Table:
        """Read the texts that are unlearned; empty in a sweep that was written without them."""
        file = self.files.open("forget_sets", FORGET_EXAMPLES_FILE)
        return FORGET_EXAMPLES.empty_table() if file is None else file.rows

    def probes(self) -> pa.Table:
        """Read what probes found; empty where nothing was probed."""
        found = TableBuilder()
        found.add(PROBES.empty_table())
        for file in self.files.open_all("probes", list(self.files.list("probes"))):
            found.add(file.rows)
        return found.table()

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """Read a trial's checkpoint; None where there is none."""
        path = checkpoint_file(trial_id)
        try:
            return self.storage.read(path)
        except IrregularFileError as error:
            self.files.skip(path, str(error))
            return None

    def log(self, name: str) -> str | None:
        """Read the log of a trial, or of the ``PREPARATION``; None where no error was logged."""
        content = self.storage.read(log_file(name))
        return None if content is None else content.decode(errors="replace")

    def remark(self, message: str) -> None:
        """Warn of something about this sweep, once."""
        if message not in self._remarks:
            self._remarks.add(message)
            warnings.warn(f"{self.storage.uri}: {message}", LedgerWarning, stacklevel=3)


def _record(kind: type[Record], table: str, row: dict[str, Any], **changes: Any) -> Record:
    """Return a row of a table as the record that it was made of."""
    own = {field.name: row[field.name] for field in fields(kind) if field.name != "metrics"}
    return kind(**own | changes, metrics=metrics_in(table, row))
