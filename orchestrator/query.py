"""DuckDB over a sweep's tables: read-only views, locked down. Nothing but the sweep's own rows can be reached."""

import contextlib
from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.schema import TABLES

_OF_THE_SQL = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.PermissionException)


def query(ledgers: Sequence[Ledger], sql: str) -> pa.Table:
    """Run one SQL statement over the views ``trials``, ``evaluations`` and ``examples`` of all the sweeps.

    Raises:
        SweepError: the SQL is wrong, or asks for what is locked: other files, the network, extensions, settings.
    """
    try:
        return _run(ledgers, sql, use_merged=True)
    except duckdb.Error as error:
        if not isinstance(error, _OF_THE_SQL):  # perhaps of a damaged merged copy: its trials' files have every row
            with contextlib.suppress(duckdb.Error):
                return _run(ledgers, sql, use_merged=False)
        raise SweepError(f"query: {error}\n(tables: {', '.join(TABLES)})") from None


def _run(ledgers: Sequence[Ledger], sql: str, *, use_merged: bool) -> pa.Table:
    with duckdb.connect(":memory:") as connection:
        for name in TABLES:
            connection.register(name, ds.dataset([ledger.dataset(name, use_merged=use_merged) for ledger in ledgers]))
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        relation = connection.sql(sql)
        if relation is None:
            raise SweepError(f"query: the tables are read-only and this gives no rows; write one SELECT: {sql}")
        return relation.to_arrow_table()
