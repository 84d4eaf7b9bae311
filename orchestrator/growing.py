"""A trial's rows as Arrow tables that grow: all its records are given at every commit, only new ones are converted."""

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

import pyarrow as pa

from orchestrator.schema import REPEATED, TABLES, to_table


class TrialRows:
    """The tables of one trial. Only what was converted is kept, not what was written."""

    def __init__(self, trial: Mapping[str, Any]) -> None:
        self.trial_id: str = trial["trial_id"]
        self._repeated = {name: {column: trial[column] for column in columns} for name, columns in REPEATED.items()}
        self._grown: dict[str, tuple[Sequence[Any], pa.Table]] = {}

    def table(self, name: str, records: Sequence[Any]) -> pa.Table:
        """Give the table ``name`` of these records. Records are frozen: the same object as before is the same row."""
        known, rows = self._grown.get(name, ((), TABLES[name].empty_table()))
        if len(known) > len(records) or not all(map(is_, known, records)):
            known, rows = (), TABLES[name].empty_table()
        new = [{**self._repeated[name], **vars(record)} for record in records[len(known) :]]
        rows = pa.concat_tables([rows, to_table(TABLES[name], new)]).combine_chunks()
        self._grown[name] = (tuple(records), rows)
        return rows


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
