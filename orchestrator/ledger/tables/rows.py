"""Rows of the tables: from values by column to rows with the table's columns, to Arrow, and back to metrics."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from orchestrator.ledger.schema import (
    BASELINES,
    EXAMPLE_METRIC_COLUMNS,
    METRIC_COLUMNS,
    OTHER_METRICS,
    REPEATED,
    TABLES,
)


def metric_row(name: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by column as a row of a table: those that it has no column for go into its map column.

    A metric of a plugin that is named as a column of the trial takes no part in it: it is in the map too.
    """
    known = set((BASELINES if name == "baselines" else TABLES[name]).names) - {*REPEATED.get(name, ())}
    row = {column: value for column, value in columns.items() if column in known}
    others = {column: value for column, value in columns.items() if column not in known}
    return row | ({OTHER_METRICS: others} if others else {})


def metrics_in(name: str, row: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of metrics in a row of ``evaluations`` or ``examples``, without those that are null."""
    columns = METRIC_COLUMNS if name == "evaluations" else EXAMPLE_METRIC_COLUMNS
    found = {column: row[column] for column in columns if row[column] is not None}
    return found | dict(row[OTHER_METRICS] or ())


def to_table(schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return an Arrow table of rows. A column that a row lacks is null; a name that the schema lacks is our bug."""
    rows = list(rows)
    known = set(schema.names)
    for row in rows:
        assert row.keys() <= known, f"not in the schema: {sorted(row.keys() - known)}"
    return pa.Table.from_pylist(rows, schema=schema)
