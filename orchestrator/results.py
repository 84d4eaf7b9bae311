"""A sweep's tables in Python: DuckDB relations, which give Arrow, pandas and Polars. Reads only what is asked for."""

from collections.abc import Sequence

import duckdb
import pyarrow.dataset as ds

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
        self._tables = Tables(ledgers)

    def trials(self) -> duckdb.DuckDBPyRelation:
        """One row a trial."""
        return self._tables.view("trials")

    def evaluations(self) -> duckdb.DuckDBPyRelation:
        """One row a (trial, step)."""
        return self._tables.view("evaluations")

    def examples(self) -> duckdb.DuckDBPyRelation:
        """One row a (trial, step, forget example)."""
        return self._tables.view("examples")

    def baselines(self) -> duckdb.DuckDBPyRelation:
        """One row a (sweep, base or reference model, forget set): what it knows before unlearning."""
        return self._tables.view("baselines")

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Run SQL over the views ``trials``, ``evaluations``, ``examples`` and ``baselines``. It is not locked down."""
        self._tables.open_named(query)
        return self._tables.connection.sql(query)


def open_results(*sweeps: str, storage: str = DEFAULT_STORAGE) -> Results:
    """Open the tables of one or more sweeps, each by its name under the storage, or by its own folder or URI.

    Raises:
        SweepError: no sweep is named, or there is none at a place.
    """
    if not sweeps:
        raise SweepError("open_results: give at least one sweep: open_results('sweeps/demo')")
    return Results([open_sweep(sweep, storage) for sweep in sweeps])


class Tables:
    """A DuckDB of its own, in memory, that has the ``VIEWS`` of the sweeps; each is opened when it is first named."""

    def __init__(self, ledgers: Sequence[Ledger], *, use_merged: bool = True) -> None:
        self._ledgers = ledgers
        self._use_merged = use_merged
        self._open: set[str] = set()
        self.connection = duckdb.connect(":memory:")
        self.connection.execute("SET TimeZone = 'UTC'")

    def view(self, name: str) -> duckdb.DuckDBPyRelation:
        """Give one of the ``VIEWS``."""
        self._ensure(name)
        return self.connection.view(name)

    def open_named(self, sql: str) -> None:
        """Open the ``VIEWS`` that SQL names."""
        named = {name.lower() for name in self.connection.get_table_names(sql)}
        for name in VIEWS:
            if name in named:
                self._ensure(name)

    def _ensure(self, name: str) -> None:
        if name not in self._open:
            self.connection.register(name, ds.dataset([self._dataset(ledger, name) for ledger in self._ledgers]))
            self._open.add(name)

    def _dataset(self, ledger: Ledger, name: str) -> ds.Dataset:
        if name == "baselines":
            rows = [{"sweep": ledger.sweep, **row} for row in ledger.baselines()]
            return ds.dataset(to_table(VIEWS[name], rows))
        return ledger.dataset(name, use_merged=self._use_merged)
