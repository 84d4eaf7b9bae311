"""The Parquet files of a ledger's tables, read: checked, brought to the present schema, set aside where that fails."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from orchestrator.errors import LedgerWarning, StorageError
from orchestrator.parquet import UnreadableFileError, decode
from orchestrator.schema import BASELINES, FORGET_EXAMPLES, SCHEMA_VERSION, TABLES
from orchestrator.storage import Storage

FILES_AT_ONCE = 256
"""Files that are read together."""
_SCHEMAS = {**TABLES, "baselines": BASELINES, "forget_sets": FORGET_EXAMPLES}


def trial_file(name: str, trial_id: str) -> str:
    """Name the file that holds a trial's rows of a table."""
    return f"{name}/{trial_id}.parquet"


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file that was read, its rows in the present schema."""

    path: str
    content: bytes
    rows: pa.Table
    is_outdated: bool
    """Whether it is of an older schema version."""


@dataclass(frozen=True)
class TableFiles:
    """Reads files. One that cannot be read is named in a warning and moved under ``quarantine/``."""

    storage: Storage

    def open(self, name: str, path: str) -> TableFile | None:
        """Read one file of the table ``name``; None where it is gone or had to be set aside."""
        content = self.storage.read(path)
        if content is None:
            return None
        try:
            rows, version = decode(content, name, _SCHEMAS[name], find_trial=self._find_trial)
            _require_own_rows(name, path, rows)
        except UnreadableFileError as error:
            self.set_aside(path, str(error))
            return None
        return TableFile(path=path, content=content, rows=rows, is_outdated=version < SCHEMA_VERSION)

    def open_all(self, name: str, paths: Sequence[str]) -> Iterator[TableFile]:
        """Read files in order, a few at a time, leaving out what is gone or had to be set aside."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(paths), FILES_AT_ONCE):
                found = pool.map(lambda path: self.open(name, path), paths[start : start + FILES_AT_ONCE])
                yield from (file for file in found if file is not None)

    def set_aside(self, path: str, reason: str) -> None:
        """Move a file to where no reader finds it, and warn."""
        place = f"quarantine/{path}"
        try:
            self.storage.move(path, place)
            done = f"set aside as {place}; resuming the sweep runs its trial again"
        except StorageError as error:
            done = f"skipped, for it could not be moved ({error})"
        warnings.warn(f"{self.storage.uri}/{path}: {reason}; {done}", LedgerWarning, stacklevel=2)

    def _find_trial(self, trial_id: str) -> dict[str, Any] | None:
        file = self.open("trials", trial_file("trials", trial_id))
        return None if file is None else next(iter(file.rows.to_pylist()), None)


def _require_own_rows(name: str, path: str, rows: pa.Table) -> None:
    named = set(rows["trial_id"].unique().to_pylist()) if name in TABLES else set()
    if named - {PurePosixPath(path).stem}:
        raise UnreadableFileError(f"it holds rows of trials that are not its own ({', '.join(map(repr, named))})")
