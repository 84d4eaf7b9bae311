"""Rows of one file of text: JSON, CSV, plain lines. Lines are counted from 1, and so are the objects of an array."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from trainables.config import SourceConfig
from trainables.data.source_files import opened_text
from trainables.errors import UnlearningError

TEXT_COLUMN = "text"
"""The only column of a plain text file: each of its lines."""
_ROLES = frozenset({"prompt", "completion", "source", "target", "text", "alternate"})
_LONGEST_FIELD = 2**26
"""Characters of a CSV field: a quote that is never closed ends there."""
_SEPARATORS = (",", "\t", ";")
_LINES_BY_NAME = {".jsonl", ".ndjson"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What stands in one line, record or row."""

    number: int
    """For a CSV record over several lines: of the first. Of several files, the rows are counted on."""
    fields: Mapping[str, Any]
    problem: str | None = None
    """Why it cannot be read; then it has no fields."""
    at: str | None = None
    """Of several files: the name of its own, and the line or row in it: ``part-2.csv:7``."""
    unread: Sequence[str] = ()
    """Columns that were not asked for."""


def read_text(path: Path) -> Iterator[Row]:
    """Read each line as a row."""
    with opened_text(path) as file:
        for number, text, problem in _decoded_lines(file):
            yield Row(number=number, fields={} if text is None else {TEXT_COLUMN: text}, problem=problem or None)


def _decoded_lines(file: IO[bytes]) -> Iterator[tuple[int, str | None, str]]:
    """Give (number, text, ""), or (number, None, problem)."""
    for number, line in enumerate(file, start=1):
        try:
            yield number, line.decode().removesuffix("\n").removesuffix("\r"), ""
        except UnicodeDecodeError as error:
            yield number, None, f"not UTF-8 at byte {error.start + 1} of the line"


def read_json(source: SourceConfig, path: Path) -> Iterator[Row]:
    """Read one object a line; or a file that is one array of objects, or one object that holds such an array.

    Raises:
        UnlearningError: it is one document, but not such a one.
    """
    if _is_document(path):
        yield from _of_document(source, path)
        return
    with opened_text(path) as file:
        for number, text, problem in _decoded_lines(file):
            if text is None:
                yield Row(number=number, fields={}, problem=problem)
            elif text.strip():
                yield _parsed(number, text)


def _is_document(path: Path) -> bool:
    """Tell whether the file is one JSON value over all its lines, by its first two that are not blank."""
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


def _of_document(source: SourceConfig, path: Path) -> Iterator[Row]:
    with opened_text(path) as file:
        content = file.read()
    try:
        text = content.decode()
        value = json.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnlearningError(f"'{path}', line {line}: not UTF-8; mend it") from error
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
    """Find the rows in a document: an array, the only array of objects in an object, or an object that is one row."""
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
    """Read by RFC 4180: a header, quoted fields may hold line breaks. What is not UTF-8 comes through as surrogates.

    Fields are separated by commas; in a file whose header has none, by tabs or semicolons.

    Raises:
        UnlearningError: it is no CSV, or its header names a column twice.
    """
    csv.field_size_limit(_LONGEST_FIELD)  # of the whole process: Python knows no other
    start = 1
    try:
        with opened_text(path) as file:
            lines = (line.decode(errors="surrogateescape") for line in file)
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
            f"'{path}', line {start}: not CSV: {error}; mend it (is a quote never closed?), or give its format"
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
