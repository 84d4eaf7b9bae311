"""A source as a table in Arrow: every row once, checked, with what is wrong with it; mapped into memory.

It is kept in the cache of Hugging Face ``datasets``, by what the files contain: two of one size and time may differ.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from datasets import Dataset, Features, Value
from datasets.exceptions import DatasetGenerationError

from trainables.config import SourceConfig
from trainables.data.examples import hash_text, text_key
from trainables.data.source_files import files_of, named
from trainables.data.source_rows import read_rows
from trainables.data.table_rows import open_dataset
from trainables.data.text_rows import Row
from trainables.errors import UnlearningError, nearest_name_hint

_VERSION = 2
"""Of what is kept in Arrow: another is made anew."""
_COLUMNS = Features(
    {
        "number": Value("int64"),
        "prompt": Value("string"),
        "completion": Value("string"),
        "alternate": Value("string"),
        "problem": Value("string"),
        "text_key": Value("int64"),
        "content_key": Value("int64"),
    }
)

Indices = npt.NDArray[np.int64]
Columns = dict[str, str]
"""``prompt``, ``completion`` and ``alternate``, as far as there are any, to names of columns."""


def checked_table(source: SourceConfig, columns: Columns, *, needs_prompt: bool) -> Dataset:
    """Make the table of a source, or take it from the cache, where it is kept by place and content of the files.

    Raises:
        UnlearningError: the source cannot be read, or changes while it is.
    """
    place = source.model_dump(mode="json", exclude={"on_bad", "columns"})
    arguments = {
        "place": json.dumps(place),
        "state": _state(source),
        "columns": json.dumps(columns),
        "needs_prompt": needs_prompt,
        "version": _VERSION,
    }
    with _no_progress_bars():
        try:
            return Dataset.from_generator(_records, features=_COLUMNS, gen_kwargs=arguments)
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, UnlearningError):
                raise error.__cause__ from None
            raise


def _state(source: SourceConfig) -> str:
    """Hash what a source's files contain (SHA-256, hex); of a hub dataset, name the copy of it that is used now."""
    if source.path is None:
        return json.dumps(sorted(file["filename"] for file in open_dataset(source).cache_files))
    files = files_of(source)
    paths = (
        sorted(file for file in files.paths[0].rglob("*") if file.is_file()) if files.format == "hf" else files.paths
    )
    hashed = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise UnlearningError(f"{named(source)} cannot be read: '{path}': {error.strerror or error}") from error
        hashed.update(str(path).encode(errors="surrogateescape"))
    return hashed.hexdigest()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    were_there = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if were_there:
            datasets.enable_progress_bars()


def _records(place: str, state: str, columns: str, needs_prompt: bool, version: int) -> Iterator[dict[str, Any]]:
    """Give the rows of the table, those that cannot be used included, with the reason."""
    roles: Columns = json.loads(columns)
    source = SourceConfig.model_validate_json(place)
    for row in read_rows(source, roles.values()):
        yield _record(row, roles, needs_prompt=needs_prompt)
    if _state(source) != state:
        raise UnlearningError(f"{named(source)} changed while it was read; leave it alone, and begin again")


def _record(row: Row, columns: Columns, *, needs_prompt: bool) -> dict[str, Any]:
    fields, problem = dict[str, str](), row.problem
    for role, column in columns.items():
        if problem is None:
            value, problem = _text_of(row, column, required=role == "completion")
            fields[role] = value
    if problem is None:
        if not fields["completion"].strip():
            problem = "the target is empty"
        elif needs_prompt and not fields.get("prompt", "").strip():
            problem = "it has no prompt (source), which an encoder-decoder model reads"
    if problem is not None:
        problem = problem if row.at is None else f"{row.at}: {problem}"
        return dict.fromkeys(_COLUMNS) | {"number": row.number, "problem": problem, "content_key": hash_text(problem)}
    prompt, completion, alternate = fields.get("prompt", ""), fields["completion"], fields.get("alternate") or None
    return {
        "number": row.number,
        "prompt": prompt,
        "completion": completion,
        "alternate": alternate,
        "problem": None,
        "text_key": text_key(prompt + completion),
        "content_key": hash_text(json.dumps([row.number, prompt, completion, alternate])),
    }


def _text_of(row: Row, column: str, *, required: bool) -> tuple[str, str | None]:
    """Give the text of a field, and what is wrong with it."""
    if column not in row.fields and required:
        return "", f"no '{column}'; {nearest_name_hint(column, [*row.fields, *row.unread])}"
    value = row.fields.get(column)
    if value is None:
        return "", None
    if not isinstance(value, str):
        return "", f"'{column}' is no text, but {type(value).__name__}: {str(value)[:40]}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "", f"'{column}' holds half a character (a lone surrogate)"
    return value, None


def chunks(table: Dataset, name: str) -> Iterator[tuple[int, Any]]:
    """Give the pieces of a column in Arrow, each with the row it starts at. None is copied."""
    start = 0
    for chunk in table.data.column(name).chunks:
        yield start, chunk
        start += len(chunk)


def number_column(table: Dataset, name: str) -> Indices:
    """Read a column of numbers; where there is none, 0."""
    parts = [np.asarray(chunk.fill_null(0).to_numpy(zero_copy_only=False)) for _, chunk in chunks(table, name)]
    return np.concatenate(parts) if parts else np.array([], dtype=np.int64)


def content_of(table: Dataset) -> str:
    """Hash all that a source holds (SHA-256, hex)."""
    return hashlib.sha256(number_column(table, "content_key").tobytes()).hexdigest()
