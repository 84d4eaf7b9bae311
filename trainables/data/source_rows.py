"""Rows of users' files one after another, each with its number and what is wrong with it.

Lines are counted from 1, and so are the rows of Parquet files and Hugging Face datasets. ``source_files`` says which
files a source is; ``text_rows`` and ``table_rows`` read one of them.
"""

import lzma
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from datasets.exceptions import DatasetsError

from trainables.config import SourceConfig
from trainables.data.source_files import SourceFiles, files_of, named, what_to_give
from trainables.data.table_rows import open_dataset, parquet_columns, read_dataset, read_parquet
from trainables.data.text_rows import Row, read_csv, read_json, read_text
from trainables.errors import UnlearningError

_OF_THE_FILE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    ImportError,
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    DatasetsError,
)
"""What libraries raise over a file that is not what it should be."""


def read_rows(source: SourceConfig, columns: Collection[str]) -> Iterator[Row]:
    """Read a source from its start; of tables, those of the columns that are there.

    Raises:
        UnlearningError: it is not there, cannot be opened, or cannot be read to its end.
    """
    with _named_errors(source):
        files = None if source.path is None else files_of(source)
        if files is None or files.format == "hf":
            yield from read_dataset(open_dataset(source), columns)
            return
    before = 0
    for path in files.paths:
        row = None
        with _named_errors(source, path if files.is_folder else None):
            for row in _of_file(source, files, path, columns):
                yield _counted_on(row, path, before) if files.is_folder else row
        before += 0 if row is None else row.number


def column_names(source: SourceConfig) -> list[str] | None:
    """List the columns of a source: of tables by their schemas, else of its first row that can be read.

    None: it has rows, and none of them can be read.

    Raises:
        UnlearningError: see ``read_rows``; or it has no row.
    """
    with _named_errors(source):
        files = None if source.path is None else files_of(source)
        if files is None or files.format == "hf":
            dataset = open_dataset(source)
            names = list(dataset.column_names) if len(dataset) else []
        elif files.format == "parquet":
            names = []
            for path in files.paths:
                with _named_errors(source, path if files.is_folder else None):
                    names += [name for name in parquet_columns(path) if name not in names]
        else:
            return _names_of_first(source)
        if not names:
            raise UnlearningError(f"{named(source)} has no example")
        return names


def _names_of_first(source: SourceConfig) -> list[str] | None:
    there_are_rows = False
    for row in read_rows(source, ()):
        if row.problem is None:
            return list(row.fields)
        there_are_rows = True
    if not there_are_rows:
        raise UnlearningError(f"{named(source)} has no example")
    return None


def _of_file(source: SourceConfig, files: SourceFiles, path: Path, columns: Collection[str]) -> Iterator[Row]:
    match files.format:
        case "jsonl":
            return read_json(source, path)
        case "csv":
            return read_csv(path)
        case "text":
            return read_text(path)
        case _:
            return read_parquet(path, columns)


def _counted_on(row: Row, path: Path, before: int) -> Row:
    return replace(row, number=before + row.number, at=f"{path.name}:{row.number}")


@contextmanager
def _named_errors(source: SourceConfig, path: Path | None = None) -> Iterator[None]:
    """Name the source, and of a folder the file, in errors of the libraries that read it."""
    try:
        yield
    except UnlearningError:
        raise
    except _OF_THE_FILE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        of = f" ('{path}')" if path is not None else ""
        raise UnlearningError(f"{named(source)}{of} cannot be read: {first}; {what_to_give(source)}") from error
