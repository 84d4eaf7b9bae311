"""One SELECT over sweeps' tables, locked down: it reaches nothing but the sweeps' own rows, and writes nothing."""

import re
from collections.abc import Iterator, Sequence
from threading import Event

import duckdb
import pyarrow as pa

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.ledger import VIEWS, Ledger
from orchestrator.query.limits import DEFAULT_MEMORY_BYTES, Limits, bounded_heap, parse_size, size_text, time_limit
from orchestrator.query.results import Views

_SPACE = r"(\s|--[^\n]*(\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(
    rf"{_SPACE}explain\b({_SPACE}(analyze|verbose)\b|{_SPACE}\(\s*(analyze|verbose|format)\b[^()]*\))*",
    re.IGNORECASE | re.DOTALL,
)
"""The words before the SELECT that is explained. An ``EXPLAIN`` that this does not match as a whole is refused."""

SQL_ERRORS = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.PermissionException)
"""DuckDB's errors that are caused by the SQL, and not by the files."""
_MEMORY_ERRORS = (duckdb.OutOfMemoryException, MemoryError)

LOCKS = (
    "max_temp_directory_size = '0 bytes'",
    "python_enable_replacements = false",
    "enable_external_access = false",
    "lock_configuration = true",
)
"""DuckDB's settings that forbid: writing to disk what memory does not hold (``Views`` names no folder for it either),
reading Python's variables (the next setting covers them since DuckDB 2), access to files, network and extensions, and
changing these settings."""
_ROWS_AT_ONCE = 100_000
RESULT_SHARE = 0.25
"""Share of the memory limit for the result: writing it as JSON takes several times as much."""


def query(ledgers: Sequence[Ledger], sql: str, limits: Limits | None = None) -> pa.Table:
    """Run one SELECT over the ``VIEWS`` of all the sweeps. Repeated column names get a number.

    Raises:
        SweepError: the SQL is wrong, is more than one SELECT, or asks for what is locked: other files, the network,
            extensions, settings.
        RunStoppedError: it takes more memory or time than the limits allow.
    """
    limits = limits or Limits()
    try:
        return _run(ledgers, sql, limits, use_merged=True)
    except duckdb.Error:  # a merged copy may be damaged; the trials' own files have every row
        return _run(ledgers, sql, limits, use_merged=False)


def _run(ledgers: Sequence[Ledger], sql: str, limits: Limits, *, use_merged: bool) -> pa.Table:
    views = Views(ledgers, use_merged=use_merged)
    with views.connection as connection:
        memory = limits.memory_bytes or _default_memory(connection)
        for setting in (f"memory_limit = '{memory} bytes'", *LOCKS):
            connection.execute(f"SET {setting}")
        over = Event()
        try:
            _require_one_select(connection, sql)
            with time_limit(connection.interrupt, limits.timeout_s) as over:
                views.open(sql)  # for a large sweep this takes the longest
                if over.is_set():
                    raise duckdb.InterruptException
                with bounded_heap(2 * memory):
                    return _distinct_names(_rows(connection, sql, memory, over))
        except _MEMORY_ERRORS:
            raise _too_much(
                f"needs more memory than {size_text(memory)}", f"--memory-limit {size_text(2 * memory)}"
            ) from None
        except duckdb.Error as error:
            if over.is_set():
                raise _too_much(
                    f"took longer than {limits.timeout_s:g} s", f"--timeout {4 * limits.timeout_s:g}"
                ) from None
            if use_merged and not isinstance(error, SQL_ERRORS):
                raise
            raise SweepError(
                f"query: {_located(connection, sql, error)}\n"
                f"(tables: {', '.join(VIEWS)}; their columns: unlearn-sweep query --schema)"
            ) from None


def _default_memory(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the default memory limit in bytes. DuckDB's own default is 80 % of what the process may have."""
    (found,) = connection.execute("select current_setting('memory_limit')").fetchone() or ("0",)
    return min(DEFAULT_MEMORY_BYTES, parse_size(found) * 5 // 8)


def _too_much(what: str, option: str) -> RunStoppedError:
    return RunStoppedError(
        f"query: it {what}; ask for fewer rows or columns (where, group by, limit), or allow more: "
        f"{option.replace(' GiB', 'GiB').replace(' MiB', 'MiB')}"
    )


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, memory: int, over: Event) -> pa.Table:
    """Run the SQL, and take its rows batch by batch, so that a result too large for memory ends it."""
    relation = connection.sql(sql)
    with relation.to_arrow_reader(_ROWS_AT_ONCE) as reader:
        batches, held = [], 0
        for batch in _as_they_are_made(reader):
            held += batch.nbytes
            if held > memory * RESULT_SHARE:
                raise MemoryError
            if over.is_set():
                raise duckdb.InterruptException
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


def _as_they_are_made(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yield a result's batches. Arrow turns DuckDB's errors into its own, with the same message."""
    try:
        yield from reader
    except (OSError, pa.ArrowInvalid) as error:
        if str(error).startswith("Out of Memory Error"):
            raise MemoryError from None
        raise duckdb.Error(str(error)) from None


def _require_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) == 1 and _only_reads(connection, statements[0]):
        return
    found = ", ".join(statement.type.name for statement in statements) or "nothing"
    raise SweepError(f"query: the tables are read-only; write one SELECT, found {found}: {sql}")


def _only_reads(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> bool:
    """Return whether a statement is a SELECT (or DESCRIBE, SHOW, SUMMARIZE, PIVOT), or explains one.

    ``EXPLAIN`` may explain anything, and DuckDB turns a statement with a ``PIVOT`` into ``MULTI``. Only a SELECT can
    stand in the brackets of ``EXISTS``, so that is tried.
    """
    if statement.type == duckdb.StatementType.SELECT:
        return True
    if statement.type not in {duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}:
        return False
    try:
        inner = connection.extract_statements(f"select exists (\n{_EXPLAIN.sub('', statement.query, count=1)}\n)")
    except duckdb.Error:
        return False
    return len(inner) == 1 and inner[0].type in {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}


def _located(connection: duckdb.DuckDBPyConnection, sql: str, error: duckdb.Error) -> str:
    """Return the error with its place in the SQL, which errors of a relation that has not run lack."""
    if isinstance(error, SQL_ERRORS) and "\nLINE " not in str(error):
        try:
            connection.execute(sql)
        except duckdb.Error as located:
            return str(located)
    return str(error)


def _distinct_names(table: pa.Table) -> pa.Table:
    names: list[str] = []
    for name in table.schema.names:
        number = sum(taken == name for taken in table.schema.names[: len(names)])
        names.append(f"{name}_{number}" if number else name)
    return table.rename_columns(names)
