"""Many small Arrow tables made one."""

import pyarrow as pa

TABLES_AT_ONCE = 256


class TableBuilder:
    """Tables of one schema, added one by one. Their rows are copied together a few tables at a time, for a table of few
    rows and many columns holds a hundred times the memory of its rows."""

    def __init__(self) -> None:
        self.count = 0
        """Rows so far."""
        self._whole: list[pa.Table] = []
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add the rows of a table."""
        self.count += table.num_rows
        self._waiting.append(table)
        if len(self._waiting) == TABLES_AT_ONCE:
            self._whole.append(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []

    def table(self) -> pa.Table:
        """Give all rows; at least one table was added."""
        return pa.concat_tables([*self._whole, *self._waiting])
