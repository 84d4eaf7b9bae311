"""One SELECT over sweeps' tables, locked down: nothing but the sweeps' own rows can be reached, nothing written."""

import contextlib
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.results import Tables
from orchestrator.schema import VIEWS

READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}
"""Statements that may run. DuckDB takes ``PIVOT`` apart into ``MULTI``."""

LOCKS = ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true")
"""DuckDB's settings against Python's variables (the next one covers them since DuckDB 2), against files, network and
extensions, and against undoing them."""

_OF_THE_SQL = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.PermissionException)


def query(ledgers: Sequence[Ledger], sql: str) -> pa.Table:
    """Run one SELECT over the ``VIEWS`` of all the sweeps. Of columns of one name the later get a number.

    Raises:
        SweepError: the SQL is wrong, or is more than one SELECT, or asks for what is locked: other files, the network,
            extensions, settings.
    """
    try:
        return _run(ledgers, sql, use_merged=True)
    except duckdb.Error as error:
        if not isinstance(error, _OF_THE_SQL):  # perhaps of a damaged merged copy: its trials' files have every row
            with contextlib.suppress(duckdb.Error):
                return _run(ledgers, sql, use_merged=False)
        raise SweepError(
            f"query: {error}\n(tables: {', '.join(VIEWS)}; their columns: unlearn-sweep query --schema)"
        ) from None


def _run(ledgers: Sequence[Ledger], sql: str, *, use_merged: bool) -> pa.Table:
    tables = Tables(ledgers, use_merged=use_merged)
    with tables.connection as connection:
        _require_one_select(connection, sql)
        tables.open_named(sql)
        for lock in LOCKS:
            connection.execute(f"SET {lock}")
        try:
            return _distinct_names(connection.sql(sql).to_arrow_table())
        except duckdb.Error as error:
            raise _located(connection, sql, error) from None


def _require_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) == 1 and statements[0].type in READING:
        return
    found = ", ".join(statement.type.name for statement in statements) or "nothing"
    raise SweepError(f"query: the tables are read-only; write one SELECT, found {found}: {sql}")


def _located(connection: duckdb.DuckDBPyConnection, sql: str, error: duckdb.Error) -> duckdb.Error:
    """Give the error with its place in the SQL: a relation's error lacks the place that a statement's has."""
    if "\nLINE " not in str(error):
        try:
            connection.execute(sql)
        except duckdb.Error as located:
            return located
    return error


def _distinct_names(table: pa.Table) -> pa.Table:
    names: list[str] = []
    for name in table.schema.names:
        number = sum(taken == name for taken in table.schema.names[: len(names)])
        names.append(f"{name}_{number}" if number else name)
    return table.rename_columns(names)
