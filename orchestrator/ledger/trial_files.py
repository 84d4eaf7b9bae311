"""A trial's rows as files that grow: all its records are given at every commit, only new ones are converted."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter, is_
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.parquet import GrowingFile
from orchestrator.ledger.schema import REPEATED, TABLES, TRIAL_KEY, TRIALS, noted_trial, to_table

_LATER = {"status", "last_step", "message", "elapsed_s", "started_at", "ended_at", "host"}
_PROPOSED = [name for name in TRIALS.names if name not in _LATER]
"""Columns of a trial that stand when it is proposed."""


class TrialRows:
    """The files of one trial's evaluations and examples, a row group a step."""

    def __init__(self, trial: Mapping[str, Any]) -> None:
        self.trial_id: str = trial["trial_id"]
        self._repeated = {name: {column: trial[column] for column in columns} for name, columns in REPEATED.items()}
        self._proposed = {name: trial[name] for name in _PROPOSED if name in trial}
        self._grown: dict[str, tuple[Sequence[Any], GrowingFile]] = {}
        self._others: dict[str, list[Any]] = {}
        self.evaluations_file: bytes | None = None
        """As this process published it last."""

    def keep(self, **others: Sequence[Any]) -> None:
        """Keep rows that another process has published, by table: from now on they are part of every file."""
        self._others = {name: list(records) for name, records in others.items()}

    def with_others(self, name: str, records: Sequence[Any]) -> Sequence[Any]:
        """Add what others have published of steps that are not among these records."""
        own = {record.step for record in records}
        missing = [record for record in self._others.get(name, ()) if record.step not in own]
        return sorted([*records, *missing], key=attrgetter("step")) if missing else records

    def file(self, name: str, records: Sequence[Any]) -> bytes:
        """Give the file of the table ``name``, with these records, in step order.

        Records are frozen: the same object as before is the same row.
        """
        known, grown = self._grown.get(name) or ((), self._begun(name))
        if len(known) > len(records) or not all(map(is_, known, records)):
            known, grown = (), self._begun(name)
        for _, of_step in groupby(records[len(known) :], key=attrgetter("step")):
            rows = [{**self._repeated[name], **vars(record)} for record in of_step]
            grown.append(to_table(TABLES[name], rows))
        self._grown[name] = (tuple(records), grown)
        return grown.content()

    def _begun(self, name: str) -> GrowingFile:
        """Begin a file with the schema, so that a trial without rows has one too."""
        grown, rows = GrowingFile(), TABLES[name].empty_table()
        if name == "evaluations":
            noted = json.dumps(self._proposed, sort_keys=True).encode()
            rows = rows.replace_schema_metadata({**rows.schema.metadata, TRIAL_KEY: noted})
        grown.append(rows)
        return grown


def proposed_trial(evaluations_file: bytes) -> dict[str, Any]:
    """Return what a file of evaluations says of its trial as it was proposed; empty where it says nothing."""
    try:
        row = noted_trial(pq.read_metadata(pa.BufferReader(evaluations_file)).metadata)
    except (pa.ArrowException, ValueError):
        return {}
    return {name: row[name] for name in _PROPOSED if name in row}


class LastTrial:
    """Remembers the rows of the trial that grew last in this process: a worker's trials come one after another."""

    def __init__(self) -> None:
        self._rows: TrialRows | None = None

    def __reduce__(self) -> tuple[type["LastTrial"], tuple[()]]:
        """Pickle nothing: another process begins anew."""
        return LastTrial, ()

    def rows(self, trial_id: str, read: Callable[[str], Mapping[str, Any]]) -> TrialRows:
        """Give the rows of a trial, whose own row is read if it is another than before."""
        rows = self._rows
        if rows is None or rows.trial_id != trial_id:
            rows = self._rows = TrialRows(read(trial_id))
        return rows
