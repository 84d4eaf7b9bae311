"""Rows of users' files one after another, each with its number and what is wrong with it.

Lines are counted from 1, and so are the rows of Parquet files and Hugging Face datasets.
"""

import codecs
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, IterableDataset, load_dataset, load_from_disk
from datasets.exceptions import DatasetsError

from trainables.config import SourceConfig, SourceFormat
from trainables.errors import UnlearningError, nearest_name_hint

_SUFFIXES: Mapping[str, SourceFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".txt": "text",
    ".text": "text",
}
TEXT_COLUMN = "text"
"""The only column of a plain text file: each of its lines."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What stands in one line, record or row."""

    number: int
    """For a CSV record over several lines: of the first."""
    fields: Mapping[str, Any]
    problem: str | None = None
    """Why it cannot be read; then it has no fields."""


def read_rows(source: SourceConfig) -> Iterator[Row]:
    """Read a source from its start.

    Raises:
        UnlearningError: it is not there, cannot be opened, or cannot be read to its end.
    """
    try:
        if source.path is None:
            yield from _of_dataset(_loaded(source))
            return
        path = Path(source.path)
        match _format(source, path):
            case "jsonl":
                yield from _of_json_lines(path)
            case "csv":
                yield from _of_csv(path)
            case "text":
                yield from _of_text(path)
            case "parquet" | "hf":
                yield from _of_dataset(_loaded(source))
    except UnlearningError:
        raise
    except (OSError, ValueError, DatasetsError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnlearningError(f"{named(source)} cannot be read: {first}; {_what_to_give(source)}") from error


def named(source: SourceConfig) -> str:
    """Name a source as the spec does."""
    return f"'{source.path or source.dataset}'"


def _what_to_give(source: SourceConfig) -> str:
    if source.path is None:
        return "give a dataset's id on the Hugging Face hub that this machine can reach, and its name and split"
    return (
        f"give a path from {Path.cwd()} or an absolute one, seen by every machine that runs the sweep, and its format"
    )


def _format(source: SourceConfig, path: Path) -> SourceFormat:
    if not path.exists():
        raise UnlearningError(f"{named(source)} is not there; {_what_to_give(source)}")
    if source.format is not None:
        return source.format
    if path.is_dir():
        return "hf"
    if path.suffix.lower() not in _SUFFIXES:
        raise UnlearningError(
            f"{named(source)}: no format is known by the suffix '{path.suffix}'; set format to jsonl, parquet, csv, "
            f"text or hf, or use one of the suffixes {', '.join(_SUFFIXES)}"
        )
    return _SUFFIXES[path.suffix.lower()]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _decoded_lines(path: Path) -> Iterator[tuple[int, str | None, str]]:
    """Give (number, text, ""), or (number, None, problem)."""
    for number, line in _lines(path):
        try:
            yield number, line.decode().removesuffix("\n").removesuffix("\r"), ""
        except UnicodeDecodeError as error:
            yield number, None, f"not UTF-8 at byte {error.start + 1} of the line"


def _of_text(path: Path) -> Iterator[Row]:
    for number, text, problem in _decoded_lines(path):
        yield Row(number=number, fields={} if text is None else {TEXT_COLUMN: text}, problem=problem or None)


def _of_json_lines(path: Path) -> Iterator[Row]:
    for number, text, problem in _decoded_lines(path):
        if text is None:
            yield Row(number=number, fields={}, problem=problem)
        elif text.strip():
            yield _parsed(number, text)


def _parsed(number: int, text: str) -> Row:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        found = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        return Row(number=number, fields={}, problem=f"not JSON: {found}")
    if not isinstance(value, dict):
        return Row(number=number, fields={}, problem=f"not a JSON object, but {type(value).__name__}: one a line")
    return Row(number=number, fields=value)


def _of_csv(path: Path) -> Iterator[Row]:
    """Read by RFC 4180: a header, quoted fields may hold line breaks. What is not UTF-8 comes through as surrogates."""
    lines = (line.decode(errors="surrogateescape") for _, line in _lines(path))
    reader = csv.reader(lines, strict=True)
    start = 1
    try:
        header = next(reader, [])
        start = reader.line_num + 1
        for record in reader:
            if record:
                yield _of_record(start, header, record)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UnlearningError(f"'{path}', line {start}: not CSV: {error}; mend it, or give its format") from error


def _of_record(number: int, header: Sequence[str], record: Sequence[str]) -> Row:
    if any("\udc80" <= character <= "\udcff" for field in record for character in field):
        return Row(number=number, fields={}, problem="not UTF-8")
    if len(record) != len(header):
        return Row(number=number, fields={}, problem=f"{len(record)} fields, where the header has {len(header)}")
    return Row(number=number, fields=dict(zip(header, record, strict=True)))


def _loaded(source: SourceConfig) -> Dataset | IterableDataset:
    if source.path is None:
        found = load_dataset(source.dataset, source.name, revision=source.revision, split=source.split)
    elif Path(source.path).is_dir() and source.format != "parquet":
        found = load_from_disk(source.path)
    else:  # streamed: what is checked is copied to Arrow, once
        files = str(Path(source.path) / "*.parquet") if Path(source.path).is_dir() else source.path
        found = load_dataset("parquet", data_files=files, split="train", streaming=True)
    if not isinstance(found, DatasetDict):
        return found
    if source.split is None and len(found) == 1:
        return next(iter(found.values()))
    if source.split not in found:
        hint = nearest_name_hint(source.split or "", found)
        raise UnlearningError(f"{named(source)}: split: found {source.split!r}; {hint}")
    return found[source.split]


def _of_dataset(dataset: Dataset | IterableDataset) -> Iterator[Row]:
    for number, fields in enumerate(dataset, start=1):
        yield Row(number=number, fields=fields)
