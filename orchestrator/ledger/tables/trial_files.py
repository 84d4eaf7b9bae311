"""A trial's rows as files that grow. Every commit passes all records of the trial; only new ones are converted."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter, is_
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.schema import REPEATED, TABLES, TRIAL_KEY, TRIALS, noted_trial
from orchestrator.ledger.tables.parquet import GrowingFile
from orchestrator.ledger.tables.rows import metric_row, to_table
from trainables.records import TIMES

_LATER = {"status", "last_step", "message", "elapsed_s", *TIMES, "started_at", "ended_at", "host"}
_PROPOSED = [name for name in TRIALS.names if name not in _LATER]
"""Columns of a trial that are known when it is proposed."""


class TrialFiles:
    """The files of one trial's evaluations and examples, with one row group a step."""

    def __init__(self, trial: Mapping[str, Any]) -> None:
        self.trial_id: str = trial["trial_id"]
        self._repeated = {name: {column: trial[column] for column in columns} for name, columns in REPEATED.items()}
        self._proposed = {name: trial[name] for name in _PROPOSED if name in trial}
        self._grown: dict[str, tuple[Sequence[Any], GrowingFile]] = {}
        self._others: dict[str, list[Any]] = {}
        self.evaluations_file: bytes | None = None
        """The file of evaluations as this process published it last."""

    def keep(self, **others: Sequence[Any]) -> None:
        """Remember rows that another process has published, by table; every later file includes them."""
        self._others = {name: list(records) for name, records in others.items()}

    def with_others(self, name: str, records: Sequence[Any]) -> Sequence[Any]:
        """Return these records, and those that others have published of other steps."""
        own = {record.step for record in records}
        missing = [record for record in self._others.get(name, ()) if record.step not in own]
        return sorted([*records, *missing], key=attrgetter("step")) if missing else records

    def file(self, name: str, records: Sequence[Any]) -> bytes:
        """Return the file of the table ``name`` with these records, which are in the order of steps.

        Records are frozen, so the same object as before is the same row.
        """
        known, grown = self._grown.get(name) or ((), self._begun(name))
        if len(known) > len(records) or not all(map(is_, known, records)):
            known, grown = (), self._begun(name)
        for _, of_step in groupby(records[len(known) :], key=attrgetter("step")):
            rows = [self._repeated[name] | metric_row(name, record.columns()) for record in of_step]
            grown.append(to_table(TABLES[name], rows))
        self._grown[name] = (tuple(records), grown)
        return grown.content()

    def _begun(self, name: str) -> GrowingFile:
        """Begin a file with an empty row group, so that a trial without rows has a file too."""
        grown, rows = GrowingFile(), TABLES[name].empty_table()
        if name == "evaluations":
            noted = json.dumps(self._proposed, sort_keys=True).encode()
            rows = rows.replace_schema_metadata({**rows.schema.metadata, TRIAL_KEY: noted})
        grown.append(rows)
        return grown


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
