"""A sweep's tables in Python: DuckDB relations, which give Arrow, pandas and Polars. Reads only what is asked for."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.schema import VIEWS, to_table
from orchestrator.sweeps import DEFAULT_STORAGE, open_sweep


class Results:
    """The tables of one or more sweeps, as they are committed when first read.

    Each method gives a DuckDB relation, which goes on with ``.filter(...)`` or ``.aggregate(...)``, or out with
    ``.df()`` (pandas), ``.pl()`` (Polars) or ``.to_arrow_table()``.
    """

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        self._connection = connect(ledgers)

    def trials(self) -> duckdb.DuckDBPyRelation:
        """One row a trial."""
        return self._connection.view("trials")

    def evaluations(self) -> duckdb.DuckDBPyRelation:
        """One row a (trial, step)."""
        return self._connection.view("evaluations")

    def examples(self) -> duckdb.DuckDBPyRelation:
        """One row a (trial, step, forget example)."""
        return self._connection.view("examples")

    def baselines(self) -> duckdb.DuckDBPyRelation:
        """One row a (sweep, base or reference model, forget set): what it knows before unlearning."""
        return self._connection.view("baselines")

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Run SQL over the views ``trials``, ``evaluations``, ``examples`` and ``baselines``. It is not locked down."""
        return self._connection.sql(query)


def open_results(*sweeps: str, storage: str = DEFAULT_STORAGE) -> Results:
    """Open the tables of one or more sweeps, each by its name under the storage, or by its own folder or URI.

    Raises:
        SweepError: no sweep is named, or there is none at a place.
    """
    if not sweeps:
        raise SweepError("open_results: give at least one sweep: open_results('sweeps/demo')")
    return Results([open_sweep(sweep, storage) for sweep in sweeps])


def connect(ledgers: Sequence[Ledger]) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB of its own, in memory, that has the ``VIEWS`` of the sweeps. Times are in UTC."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    for name in VIEWS:
        connection.register(name, _View(ledgers, name))
    return connection


class _View:
    """A table that is read when a query scans it (Arrow PyCapsule interface), and stays read."""

    def __init__(self, ledgers: Sequence[Ledger], name: str) -> None:
        self._ledgers = ledgers
        self._name = name

    def __arrow_c_schema__(self) -> Any:
        return VIEWS[self._name].__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._rows.__arrow_c_stream__(requested_schema)

    @cached_property
    def _rows(self) -> pa.Table:
        return pa.concat_tables([_read(ledger, self._name) for ledger in self._ledgers])


def _read(ledger: Ledger, name: str) -> pa.Table:
    if name == "baselines":
        return to_table(VIEWS[name], [{"sweep": ledger.sweep, **row} for row in ledger.baselines()])
    return ledger.table(name)
