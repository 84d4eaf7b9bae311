"""A source as an Arrow table, mapped into memory: every row, checked, with what is wrong with it.

Tables are kept in the cache of Hugging Face ``datasets``, by the contents of the files: two versions of a file may have
the same size and time.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from datasets import Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError

from trainables.config import SourceConfig
from trainables.data.examples import hash_text, text_key
from trainables.data.reading.row_texts import Columns, UnusableRowError, texts_of
from trainables.data.reading.source_files import files_of, named
from trainables.data.reading.source_rows import read_rows
from trainables.data.reading.table_rows import open_dataset
from trainables.data.reading.text_rows import Row
from trainables.errors import UnlearningError

_VERSION = 4
"""Version of the table. A change makes cached tables invalid."""
_COLUMNS = Features(
    {
        "number": Value("int64"),
        "prompt": Value("string"),
        "completion": Value("string"),
        "alternate": Value("string"),
        "paraphrase": Value("string"),
        "perturbed": List(Value("string")),
        "other_prompts": List(Value("string")),
        "problem": Value("string"),
        "text_key": Value("int64"),
        "content_key": Value("int64"),
    }
)

Indices = npt.NDArray[np.int64]


def checked_table(source: SourceConfig, columns: Columns, *, needs_prompt: bool) -> Dataset:
    """Return the table of a source, from the cache if the files are unchanged.

    Raises:
        UnlearningError: the source cannot be read, or changes while it is read.
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
    """Return a hash of a source's files (SHA-256, hex); of a hub dataset, the names of the cached files in use."""
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
    were_enabled = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if were_enabled:
            datasets.enable_progress_bars()


def _records(place: str, state: str, columns: str, needs_prompt: bool, version: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table; those that cannot be used have a ``problem``."""
    roles: Columns = json.loads(columns)
    source = SourceConfig.model_validate_json(place)
    for row in read_rows(source, roles.values()):
        yield _record(row, roles, source, needs_prompt=needs_prompt)
    if _state(source) != state:
        raise UnlearningError(f"{named(source)} changed while it was read; do not change it, and start again")


def _record(row: Row, columns: Columns, source: SourceConfig, *, needs_prompt: bool) -> dict[str, Any]:
    try:
        if row.problem is not None:
            raise UnusableRowError(row.problem)
        texts = texts_of(row, columns, source, needs_prompt=needs_prompt)
    except UnusableRowError as error:
        problem = str(error) if row.at is None else f"{row.at}: {error}"
        return dict.fromkeys(_COLUMNS) | {"number": row.number, "problem": problem, "content_key": hash_text(problem)}
    found = asdict(texts)
    content = [row.number, texts.prompt, texts.completion, texts.alternate]
    if texts.paraphrase is not None or texts.perturbed is not None:  # older contents had neither
        content += [texts.paraphrase, texts.perturbed]
    if texts.other_prompts:
        content += ["other_prompts", *texts.other_prompts]
    return {
        **found,
        "number": row.number,
        "problem": None,
        "text_key": text_key(texts.prompt + texts.completion),
        "content_key": hash_text(json.dumps(content)),
    }


def chunks(table: Dataset, name: str) -> Iterator[tuple[int, Any]]:
    """Yield the Arrow chunks of a column, each with the row that it starts at. Nothing is copied."""
    start = 0
    for chunk in table.data.column(name).chunks:
        yield start, chunk
        start += len(chunk)


def number_column(table: Dataset, name: str) -> Indices:
    """Return a column of numbers, with 0 for null."""
    parts = [np.asarray(chunk.fill_null(0).to_numpy(zero_copy_only=False)) for _, chunk in chunks(table, name)]
    return np.concatenate(parts) if parts else np.array([], dtype=np.int64)


def list_lengths(table: Dataset, name: str) -> Indices:
    """Return how many texts each field of a column holds: of a list its length, of a text 1; 0 for null."""
    parts = []
    for _, chunk in chunks(table, name):
        found = chunk.value_lengths().fill_null(0) if hasattr(chunk, "value_lengths") else chunk.is_valid()
        parts.append(np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64))
    return np.concatenate(parts) if parts else np.array([], dtype=np.int64)


def content_of(table: Dataset) -> str:
    """Return a hash of all rows of a source (SHA-256, hex)."""
    return hashlib.sha256(number_column(table, "content_key").tobytes()).hexdigest()
