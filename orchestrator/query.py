"""DuckDB over a sweep's tables: read-only views, locked down. Nothing but the sweep's own rows can be reached."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.schema import TABLES


def query(ledgers: Sequence[Ledger], sql: str) -> pa.Table:
    """Run one SQL statement over the views ``trials``, ``evaluations`` and ``examples`` of all the sweeps.

    Raises:
        SweepError: the SQL is wrong, or asks for what is locked: other files, the network, extensions, settings.
    """
    with duckdb.connect(":memory:") as connection:
        for name in TABLES:
            rows = pa.concat_tables([ledger.table(name) for ledger in ledgers])
            connection.register(name, rows)
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            relation = connection.sql(sql)
            if relation is None:
                raise SweepError(f"query: the tables are read-only and this gives no rows; write one SELECT: {sql}")
            return relation.to_arrow_table()
        except duckdb.Error as error:
            raise SweepError(f"query: {error}\n(tables: {', '.join(TABLES)})") from None
