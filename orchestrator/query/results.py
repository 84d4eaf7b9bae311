"""A sweep's tables in Python, as DuckDB relations for Arrow, pandas and Polars. Reads only what is asked for."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from orchestrator.errors import SweepError
from orchestrator.ledger import DEFAULT_STORAGE, VIEWS, Ledger, open_sweep, to_table


class Results:
    """The tables of one or more sweeps, as they are committed when first read.

    Each method returns a DuckDB relation. Work on with ``.filter(...)`` or ``.aggregate(...)``, or convert it with
    ``.df()`` (pandas), ``.pl()`` (Polars) or ``.to_arrow_table()``.
    """

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        self._views = Views(ledgers)

    def trials(self) -> duckdb.DuckDBPyRelation:
        """Return the table with one row a trial."""
        return self.sql("from trials")

    def evaluations(self) -> duckdb.DuckDBPyRelation:
        """Return the table with one row a (trial, step)."""
        return self.sql("from evaluations")

    def examples(self) -> duckdb.DuckDBPyRelation:
        """Return the table with one row a (trial, step, forget example)."""
        return self.sql("from examples")

    def baselines(self) -> duckdb.DuckDBPyRelation:
        """Return the table with one row a (sweep, model, forget set): what base and reference models know before
        unlearning."""
        return self.sql("from baselines")

    def forget_examples(self) -> duckdb.DuckDBPyRelation:
        """Return the table with one row a (sweep, forget set, example): the texts that are unlearned."""
        return self.sql("from forget_examples")

    def probes(self) -> duckdb.DuckDBPyRelation:
        """Return the table with one row a measurement of a probe: what was tried on chosen points, and on base and
        reference models."""
        return self.sql("from probes")

    @property
    def skipped_files(self) -> list[str]:
        """The damaged files that reading has left out so far; each was warned of."""
        return self._views.skipped_files

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Run SQL over the views ``trials``, ``evaluations``, ``examples``, ``baselines``, ``forget_examples`` and
        ``probes``.

        Unlike the command ``query``, the SQL is not locked down: it can reach other files and the network.
        """
        self._views.open(query)
        return self._views.connection.sql(query)


def open_results(*sweeps: str, storage: str = DEFAULT_STORAGE) -> Results:
    """Open the tables of one or more sweeps, each by its name under the storage, or by its own folder or URI.

    Raises:
        SweepError: no sweep is named, or there is none in one of the places.
    """
    if not sweeps:
        raise SweepError("open_results: give at least one sweep: open_results('sweeps/demo')")
    return Results([open_sweep(sweep, storage) for sweep in sweeps])


class Views:
    """A separate DuckDB in memory with the sweeps' tables as views. A table is opened when SQL first names it."""

    def __init__(self, ledgers: Sequence[Ledger], *, use_merged: bool = True) -> None:
        self.connection = duckdb.connect(":memory:")
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("SET enable_progress_bar = false")  # it writes into standard output
        self.connection.execute("SET temp_directory = ''")  # it would be .tmp in the current folder
        self._ledgers = ledgers
        self._use_merged = use_merged
        self._opened: set[str] = set()

    @property
    def skipped_files(self) -> list[str]:
        """See ``Results.skipped_files``."""
        return [f"{ledger.storage.uri}/{path}" for ledger in self._ledgers for path in sorted(ledger.skipped)]

    def open(self, sql: str) -> None:
        """Open the tables that the SQL may name; all of them where it names none (``show tables``)."""
        named = {name for name in VIEWS if name in sql.lower()} or set(VIEWS)
        for name in sorted(named - self._opened):
            self.connection.register(name, self._source(name))
        self._opened |= named

    def _source(self, name: str) -> ds.Dataset | pa.Table:
        if name == "baselines":
            rows = [{"sweep": ledger.sweep, **row} for ledger in self._ledgers for row in ledger.baselines().rows]
            return to_table(VIEWS[name], rows)
        if name == "probes":
            return pa.concat_tables(ledger.probes() for ledger in self._ledgers)
        if name == "forget_examples":
            texts = [(ledger.sweep, ledger.forget_examples()) for ledger in self._ledgers]
            return pa.concat_tables(
                own.add_column(0, VIEWS[name].field("sweep"), pa.repeat(pa.scalar(sweep, pa.string()), own.num_rows))
                for sweep, own in texts
            )
        return ds.dataset([ledger.dataset(name, use_merged=self._use_merged) for ledger in self._ledgers])
