"""A trial's rows as files that grow. Every commit passes all records of the trial; only new ones are converted."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter, is_
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.schema import REPEATED, TABLES, TRIAL_KEY, TRIALS, noted_trial
from orchestrator.ledger.tables.parquet import GrowingFile, may_replace
from orchestrator.ledger.tables.rows import metric_row, to_table
from trainables.records import TIMES

_LATER = {"status", "last_step", "message", "elapsed_s", *TIMES, "started_at", "ended_at", "host"}
_PROPOSED = [name for name in TRIALS.names if name not in _LATER]
"""Columns of a trial that are known when it is proposed."""


BEFORE_AT_MOST = 4
"""A file begins with another one only if that is at most so many times as large, or it would drag along its past."""


class TrialFiles:
    """The files of one trial's evaluations and examples, with a row group a step or so until the trial ends."""

    def __init__(self, trial: Mapping[str, Any]) -> None:
        self.trial_id: str = trial["trial_id"]
        self._repeated = {name: {column: trial[column] for column in columns} for name, columns in REPEATED.items()}
        self._proposed = {name: trial[name] for name in _PROPOSED if name in trial}
        self._grown: dict[str, tuple[Sequence[Any], GrowingFile]] = {}
        self._others: dict[str, list[Any]] = {}
        self._visible: dict[str, bytes | None] = {}

    def has_written(self, name: str, visible: bytes) -> bool:
        """Return whether a file is the one that was made last."""
        return self._visible.get(name) == visible

    def take_up(self, name: str, visible: bytes | None, records: Sequence[Any]) -> None:
        """Note the file that another process has published, and its records; every later file includes them."""
        self._visible[name] = visible
        self._others[name] = list(records)
        self._grown.pop(name, None)

    def with_others(self, name: str, records: Sequence[Any]) -> Sequence[Any]:
        """Return these records, and those that others have published of other steps."""
        own = {record.step for record in records}
        missing = [record for record in self._others.get(name, ()) if record.step not in own]
        return sorted([*records, *missing], key=attrgetter("step")) if missing else records

    def file(self, name: str, records: Sequence[Any], *, last: bool = False) -> bytes:
        """Return the file of the table ``name`` with these records, which are in the order of steps.

        Records are frozen, so the same object as before is the same row. If no file is expected after it, the ``last``
        one has all rows in one row group.
        """
        known, grown = self._grown.get(name) or ((), None)
        if grown is not None and len(known) <= len(records) and all(map(is_, known, records)):
            _grow(grown, self._by_step(name, records[len(known) :]), last=last)
        else:
            first, *steps = self._by_step(name, records)
            grown = GrowingFile(self._noted(first) if name == "evaluations" else first)
            _grow(grown, steps, last=last)
            visible = self._visible.get(name)
            if visible is not None and not may_replace(visible, grown.content()):
                after = visible if len(visible) <= BEFORE_AT_MOST * len(grown.content()) else b""
                grown = GrowingFile(grown.rows, after=after)
        self._grown[name] = tuple(records), grown
        self._visible[name] = content = grown.content()
        return content

    def _by_step(self, name: str, records: Sequence[Any]) -> list[pa.Table]:
        """Return the rows of each step; if there are no records, one table without rows."""
        return [
            to_table(TABLES[name], [self._repeated[name] | metric_row(name, record.columns()) for record in of_step])
            for _, of_step in groupby(records, key=attrgetter("step"))
        ] or [TABLES[name].empty_table()]

    def _noted(self, rows: pa.Table) -> pa.Table:
        """Return rows with a note of the trial's row as it was proposed."""
        noted = json.dumps(self._proposed, sort_keys=True).encode()
        return rows.replace_schema_metadata({**rows.schema.metadata, TRIAL_KEY: noted})


def _grow(grown: GrowingFile, steps: Sequence[pa.Table], *, last: bool) -> None:
    for number, rows in enumerate(steps, 1):
        grown.append(rows, last=last and number == len(steps))


def proposed_trial(evaluations_file: bytes) -> dict[str, Any]:
    """Return a trial's row as it was proposed, from its file of evaluations; empty where the file lacks it."""
    try:
        row = noted_trial(pq.read_metadata(pa.BufferReader(evaluations_file)).metadata)
    except (pa.ArrowException, ValueError):
        return {}
    return {name: row[name] for name in _PROPOSED if name in row}


class LastTrial:
    """Remembers the files of the last trial in this process, since a worker runs one trial after another."""

    def __init__(self) -> None:
        self._files: TrialFiles | None = None

    def __reduce__(self) -> tuple[type["LastTrial"], tuple[()]]:
        """Pickle nothing: another process starts without them."""
        return LastTrial, ()

    def files(self, trial_id: str, read: Callable[[str], Mapping[str, Any]]) -> TrialFiles:
        """Return the files of a trial; if it is another trial than before, ``read`` returns its row."""
        files = self._files
        if files is None or files.trial_id != trial_id:
            files = self._files = TrialFiles(read(trial_id))
        return files
