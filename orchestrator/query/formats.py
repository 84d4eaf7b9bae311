"""A query's result as the bytes of a file: CSV, JSON, Markdown or Parquet; text is UTF-8.

A value that a format has no type for becomes text: lists and structs as JSON, intervals as ISO 8601, bytes as base64.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from orchestrator.safe_text import clean, replace_obeyed

_SECOND = 1_000_000_000
"""Nanoseconds."""


def as_json(value: Any) -> str:
    """Return plain data as JSON: NaN and infinity become null, times and intervals ISO 8601, bytes base64.

    Characters that a terminal would obey are written as JSON's escapes, which mean the same.
    """
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    return replace_obeyed(text, lambda character: json.dumps(character)[1:-1], keep="\n")


def interval_text(months: int, days: int, nanoseconds: int) -> str:
    """Return an interval as a person reads it, as DuckDB does: ``1 month 2 days 03:04:05.5``."""
    parts = [
        f"{count} {unit}{'' if abs(count) == 1 else 's'}" for count, unit in ((months, "month"), (days, "day")) if count
    ]
    if nanoseconds or not parts:
        seconds, rest = divmod(abs(nanoseconds), _SECOND)
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"
        parts.append(f"{'-' if nanoseconds < 0 else ''}{clock}")
    return " ".join(parts)


def _seconds(nanoseconds: int) -> str:
    """Return nanoseconds as exact text in seconds."""
    seconds, rest = divmod(abs(nanoseconds), _SECOND)
    return f"{'-' if nanoseconds < 0 else ''}{seconds}{f'.{rest:09d}'.rstrip('0') if rest else ''}"


def _json(table: pa.Table) -> bytes:
    return f"{as_json(table.to_pylist())}\n".encode()


def _csv(table: pa.Table) -> bytes:
    """Return a header and one record a row; null is an empty field, empty text ``""``."""
    flat = pa.table([_flat(column) for column in table.columns], names=table.schema.names)
    buffer = pa.BufferOutputStream()
    pa_csv.write_csv(flat, buffer)
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _markdown(table: pa.Table) -> bytes:
    """Return a GitHub table; null is an empty cell, the end of a line ``<br>``, control characters are escaped."""
    names = table.schema.names
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    lines = [[_cell(name) for name in names], ["---"] * len(names), *([_cell(value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()


def _parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content: bytes = buffer.getvalue().to_pybytes()
    return content


FORMATS: Mapping[str, Callable[[pa.Table], bytes]] = {
    "csv": _csv,
    "json": _json,
    "markdown": _markdown,
    "parquet": _parquet,
}
"""Writers by the name of their format."""


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column, as text if CSV has no type for it."""
    kind = column.type
    if not (pa.types.is_nested(kind) or pa.types.is_interval(kind) or pa.types.is_binary(kind)):
        return column
    texts = [None if value is None else _text(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _cell(value: Any) -> str:
    escaped = "" if value is None else _text(value).replace("\\", "\\\\").replace("|", "\\|")
    return "<br>".join(map(clean, escaped.splitlines()))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return a value as one that JSON can express."""
    plain = value
    match value:
        case dict():
            plain = {key: _plain(inner) for key, inner in value.items()}
        case pa.MonthDayNano(months=months, days=days, nanoseconds=nanoseconds):
            plain = f"P{months}M{days}DT{_seconds(nanoseconds)}S"
        case list() | tuple():
            plain = [_plain(inner) for inner in value]
        case bytes():
            plain = base64.b64encode(value).decode()
        case datetime() | date() | time():
            plain = value.isoformat()
        case Decimal():
            plain = int(value) if value == value.to_integral_value() else float(value)
        case float():
            plain = value if math.isfinite(value) else None
    return plain if plain is None or isinstance(plain, bool | int | float | str | list | dict) else str(plain)
