"""Reading the Parquet files of tables: checked, in the present schema, and left out where that fails."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from orchestrator.errors import IrregularFileError, LedgerWarning, StorageError, SweepError
from orchestrator.ledger.layout import trial_file
from orchestrator.ledger.schema import BASELINES, FORGET_EXAMPLES, PROBES, SCHEMA_VERSION, TABLES
from orchestrator.ledger.tables.checked_rows import find_problem
from orchestrator.ledger.tables.parquet import UnreadableFileError, decode
from orchestrator.storage import Storage

FILES_AT_ONCE = 256
"""Files that are read and checked together."""
_SCHEMAS = {**TABLES, "baselines": BASELINES, "forget_sets": FORGET_EXAMPLES, "probes": PROBES}


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file that was read; its rows have the present schema."""

    path: str
    content: bytes
    rows: pa.Table
    is_outdated: bool
    """Whether the file itself has an older schema version."""

    def only_row(self) -> dict[str, Any]:
        """Return the first row, the only one in a file of ``trials``."""
        row: dict[str, Any] = self.rows.to_pylist()[0]
        return row


@dataclass(frozen=True)
class TableFiles:
    """Reads files of tables. A damaged file is left out, with one warning; nothing is moved or written."""

    storage: Storage
    skipped: dict[str, str] = field(default_factory=dict)
    """The files that were left out so far: the reason by path."""

    def list(self, name: str) -> dict[str, str]:
        """Return the files of a table, with their fingerprints; none where its folder is something else."""
        try:
            return self.storage.files(name, ".parquet")
        except IrregularFileError as error:
            self.skip(name, str(error))
            return {}

    def open(self, name: str, path: str) -> TableFile | None:
        """Read one file of the table ``name``; None where it is missing or damaged."""
        file = self._decoded(name, path)
        return None if file is None else self._if_sound(name, file)

    def open_all(self, name: str, paths: Sequence[str]) -> Iterator[TableFile]:
        """Read files in order, ``FILES_AT_ONCE`` at a time, leaving out missing and damaged ones."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(paths), FILES_AT_ONCE):
                decoded = pool.map(lambda path: self._decoded(name, path), paths[start : start + FILES_AT_ONCE])
                files = [file for file in decoded if file is not None]
                # checking the few rows of one file takes as long as checking those of all
                if files and find_problem(name, pa.concat_tables([file.rows for file in files])) is not None:
                    yield from (file for file in files if self._if_sound(name, file) is not None)
                else:
                    yield from files

    def _decoded(self, name: str, path: str) -> TableFile | None:
        """Read a file without checking its rows; None where it is missing or damaged."""
        try:
            return self._read(name, path)
        except (UnreadableFileError, IrregularFileError) as error:
            self.skip(path, str(error))
        return None

    def _if_sound(self, name: str, file: TableFile) -> TableFile | None:
        """Return the file if its rows pass the checks of the table; else leave it out and return None."""
        problem = find_problem(name, file.rows)
        if problem is None:
            return file
        self.skip(file.path, f"not rows of {name}: {problem}")
        return None

    def skip(self, path: str, reason: str) -> None:
        """Note that a file is left out, and warn of it the first time."""
        if path not in self.skipped:
            self.skipped[path] = reason
            self._warn(path, f"{reason}; it is left out; resuming the sweep quarantines it, and makes it anew")

    def quarantine(self, path: str, reason: str) -> None:
        """Move a file under ``quarantine/``, where no reader looks, and warn. Only for the sweep's driver."""
        place = f"quarantine/{path}"
        try:
            self.storage.move(path, place)
            done = f"quarantined as {place}; what it held is made anew"
        except StorageError as error:
            done = f"left out, for it could not be moved ({error})"
        self._warn(path, f"{reason}; {done}")

    def _warn(self, path: str, message: str) -> None:
        warnings.warn(f"{self.storage.uri}/{path}: {message}", LedgerWarning, stacklevel=3)

    def _read(self, name: str, path: str) -> TableFile | None:
        content = self.storage.read(path)
        if content is None:
            return None
        try:
            rows, version = decode(content, name, _SCHEMAS[name], find_trial=self._find_trial)
        except (StorageError, SweepError) as error:
            raise type(error)(f"{self.storage.uri}/{path}: {error}") from error
        _require_own_rows(name, path, rows)
        return TableFile(path=path, content=content, rows=rows, is_outdated=version < SCHEMA_VERSION)

    def _find_trial(self, trial_id: str) -> dict[str, Any] | None:
        file = self.open("trials", trial_file("trials", trial_id))
        return None if file is None else next(iter(file.rows.to_pylist()), None)


def _require_own_rows(name: str, path: str, rows: pa.Table) -> None:
    named = set(rows["trial_id"].unique().to_pylist()) if name in TABLES else set()
    if named - {PurePosixPath(path).stem}:
        raise UnreadableFileError(f"it holds rows of trials that are not its own ({', '.join(map(repr, named))})")
    if name == "trials" and rows.num_rows != 1:
        raise UnreadableFileError(f"it holds {rows.num_rows} rows, and a trial has one")


class QuarantiningTableFiles(TableFiles):
    """Reads files for the sweep's driver: a damaged file is moved under ``quarantine/``."""

    def skip(self, path: str, reason: str) -> None:
        """See ``quarantine``."""
        self.quarantine(path, reason)
