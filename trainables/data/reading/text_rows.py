"""Rows of one text file: JSON, CSV or plain lines. Lines are counted from 1, as are the objects of an array."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from trainables.config import SourceConfig
from trainables.data.reading.source_files import opened_text
from trainables.errors import UnlearningError

TEXT_COLUMN = "text"
"""The only column of a plain text file: each of its lines."""
_ROLES = frozenset({"prompt", "completion", "source", "target", "text", "alternate"})
_LONGEST_FIELD = 2**26
"""Largest number of characters in a CSV field, which bounds a quote that is never closed."""
_SEPARATORS = (",", "\t", ";")
_LINES_BY_NAME = {".jsonl", ".ndjson"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of text, record of CSV, or row of a table."""

    number: int
    """Counted from 1, over all files of a source. For a CSV record over several lines, the first line."""
    fields: Mapping[str, Any]
    problem: str | None = None
    """Why the row cannot be read. Then it has no fields."""
    at: str | None = None
    """File and line or row within a folder, such as ``part-2.csv:7``; None: the source is one file."""
    unread: Sequence[str] = ()
    """Columns that exist but were not asked for."""


def read_text(path: Path) -> Iterator[Row]:
    """Yield each line as a row."""
    with opened_text(path) as file:
        for number, text, problem in _decoded_lines(file):
            yield Row(number=number, fields={} if text is None else {TEXT_COLUMN: text}, problem=problem or None)


def _decoded_lines(file: IO[bytes]) -> Iterator[tuple[int, str | None, str]]:
    """Yield (number, text, "") for each line, or (number, None, problem)."""
    for number, line in enumerate(file, start=1):
        try:
            yield number, line.decode().removesuffix("\n").removesuffix("\r"), ""
        except UnicodeDecodeError as error:
            yield number, None, f"not UTF-8 at byte {error.start + 1} of the line"


def read_json(source: SourceConfig, path: Path) -> Iterator[Row]:
    """Yield the objects of a file: one a line, those of one array, or those of the only array in one object.

    Raises:
        UnlearningError: the file is one JSON document without such an array.
    """
    if _is_document(path):
        yield from _rows_of_document(source, path)
        return
    with opened_text(path) as file:
        for number, text, problem in _decoded_lines(file):
            if text is None:
                yield Row(number=number, fields={}, problem=problem)
            elif text.strip():
                yield _parsed(number, text)


def _is_document(path: Path) -> bool:
    """Return whether the file is one JSON document, judged by its first two lines that are not blank."""
    with opened_text(path) as file:
        lines = ("" if text is None else text.strip() for _, text, _ in _decoded_lines(file))
        full = (text for text in lines if text)
        first, second = next(full, ""), next(full, "")
    if _is_json(first):
        return not second and first.startswith(("[", "{"))
    if first.startswith("{"):
        return not (_is_json(second) or _LINES_BY_NAME.intersection(path.suffixes[-2:]))
    return first.startswith("[")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _rows_of_document(source: SourceConfig, path: Path) -> Iterator[Row]:
    with opened_text(path) as file:
        content = file.read()
    try:
        text = content.decode()
        value = json.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnlearningError(f"'{path}', line {line}: not UTF-8; repair it") from error
    except json.JSONDecodeError as error:
        raise UnlearningError(
            f"'{path}', line {error.lineno}: not JSON: {error.msg} at column {error.colno}; give one object a line, or "
            f"one array of objects"
        ) from error
    except RecursionError as error:
        raise UnlearningError(f"'{path}': not JSON that can be read: nested too deep") from error
    for number, item in enumerate(_objects(source, path, value), start=1):
        if isinstance(item, dict):
            yield Row(number=number, fields=item)
        else:
            yield Row(number=number, fields={}, problem=f"not a JSON object, but {type(item).__name__}")


def _objects(source: SourceConfig, path: Path, value: Any) -> Sequence[Any]:
    """Return the rows of a document: an array, the only array of objects in an object, or an object that is one row."""
    if isinstance(value, list):
        return value
    arrays = {key: inner for key, inner in value.items() if isinstance(inner, list) and _of_objects(inner)}
    if not arrays or _ROLES.union(source.columns.values()) & value.keys():
        return [value]
    if len(arrays) > 1:
        raise UnlearningError(
            f"'{path}': one JSON object with several arrays of objects ({', '.join(map(repr, arrays))}); give a file "
            f"of one of them"
        )
    return next(iter(arrays.values()))


def _of_objects(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) for item in items)


def _parsed(number: int, text: str) -> Row:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        found = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        return Row(number=number, fields={}, problem=f"not JSON: {found}")
    if not isinstance(value, dict):
        return Row(number=number, fields={}, problem=f"not a JSON object, but {type(value).__name__}: one a line")
    return Row(number=number, fields=value)


def read_csv(path: Path) -> Iterator[Row]:
    """Yield the records of a CSV file (RFC 4180) with a header. Quoted fields may have line breaks.

    Fields are separated by commas or, in a file whose header has none, by tabs or semicolons.

    Raises:
        UnlearningError: the file is not CSV, or its header names a column twice.
    """
    csv.field_size_limit(_LONGEST_FIELD)  # for the whole process: Python has no other limit
    start = 1
    try:
        with opened_text(path) as file:
            lines = (line.decode(errors="surrogateescape") for line in file)  # see ``_of_record``
            beginning = next(lines, "")
            reader = csv.reader(chain([beginning], lines), strict=True, delimiter=_separator(path, beginning))
            header = next(reader, [])
            _require_distinct(path, header)
            start = reader.line_num + 1
            for record in reader:
                if record:
                    yield _of_record(start, header, record)
                start = reader.line_num + 1
    except csv.Error as error:
        raise UnlearningError(
            f"'{path}', line {start}: not CSV: {error}; repair it (is a quote never closed?), or give its format"
        ) from error


def _separator(path: Path, header: str) -> str:
    if ".tsv" in path.suffixes[-2:]:
        return "\t"
    return next((separator for separator in _SEPARATORS if separator in header), ",")


def _require_distinct(path: Path, header: Sequence[str]) -> None:
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise UnlearningError(f"'{path}': its header has {', '.join(map(repr, twice))} more than once; rename one")


def _of_record(number: int, header: Sequence[str], record: Sequence[str]) -> Row:
    if any("\udc80" <= character <= "\udcff" for field in record for character in field):
        return Row(number=number, fields={}, problem="not UTF-8")
    if len(record) != len(header):
        return Row(number=number, fields={}, problem=f"{len(record)} fields, where the header has {len(header)}")
    return Row(number=number, fields=dict(zip(header, record, strict=True)))
