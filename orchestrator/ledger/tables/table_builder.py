"""One Arrow table from many small ones."""

import pyarrow as pa

TABLES_AT_ONCE = 256
"""Tables whose rows are copied together."""


class TableBuilder:
    """Builds a table from tables of one schema that are added one by one.

    Rows are copied together every ``TABLES_AT_ONCE`` tables, since a table of few rows and many columns takes a hundred
    times the memory of its rows.
    """

    def __init__(self) -> None:
        self.count = 0
        """Rows so far."""
        self._combined: list[pa.Table] = []
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add the rows of a table."""
        self.count += table.num_rows
        self._waiting.append(table)
        if len(self._waiting) == TABLES_AT_ONCE:
            self._combined.append(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []

    def table(self) -> pa.Table:
        """Return all rows. At least one table must have been added."""
        return pa.concat_tables([*self._combined, *self._waiting])
