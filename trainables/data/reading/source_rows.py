"""The rows of a source, whatever its format, each with its number and what is wrong with it.

Lines, rows of Parquet files and rows of Hugging Face datasets are counted from 1. ``source_files`` finds the files of a
source; ``text_rows`` and ``table_rows`` read one file.
"""

import lzma
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from datasets.exceptions import DatasetsError

from trainables.config import SourceConfig
from trainables.data.reading.source_files import SourceFiles, files_of, named, what_to_give
from trainables.data.reading.table_rows import open_dataset, parquet_columns, read_dataset, read_parquet
from trainables.data.reading.text_rows import Row, read_csv, read_json, read_text
from trainables.errors import UnlearningError

_FILE_ERRORS = (
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
"""What libraries raise where a file is damaged or of another format."""


def read_rows(source: SourceConfig, columns: Collection[str]) -> Iterator[Row]:
    """Yield the rows of a source; of tables, only those ``columns`` that exist are read.

    Raises:
        UnlearningError: the source does not exist, cannot be opened, or cannot be read to its end.
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
            for row in _rows_of_file(source, files, path, columns):
                yield _renumbered(row, path, before) if files.is_folder else row
        before += 0 if row is None else row.number


def column_names(source: SourceConfig) -> list[str] | None:
    """Return the columns of a source: of tables those of the schema, otherwise those of the first readable row.

    None: the source has rows, but none of them can be read.

    Raises:
        UnlearningError: see ``read_rows``; or the source has no rows.
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
            return _columns_of_first_row(source)
        if not names:
            raise UnlearningError(f"{named(source)} has no example")
        return names


def _columns_of_first_row(source: SourceConfig) -> list[str] | None:
    has_rows = False
    for row in read_rows(source, ()):
        if row.problem is None:
            return list(row.fields)
        has_rows = True
    if not has_rows:
        raise UnlearningError(f"{named(source)} has no example")
    return None


def _rows_of_file(source: SourceConfig, files: SourceFiles, path: Path, columns: Collection[str]) -> Iterator[Row]:
    match files.format:
        case "jsonl":
            return read_json(source, path)
        case "csv":
            return read_csv(path)
        case "text":
            return read_text(path)
        case _:
            return read_parquet(path, columns)


def _renumbered(row: Row, path: Path, before: int) -> Row:
    return replace(row, number=before + row.number, at=f"{path.name}:{row.number}")


@contextmanager
def _named_errors(source: SourceConfig, path: Path | None = None) -> Iterator[None]:
    """Turn errors of the libraries that read a file into an error that names the source and, in a folder, the file."""
    try:
        yield
    except UnlearningError:
        raise
    except _FILE_ERRORS as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        of = f" ('{path}')" if path is not None else ""
        raise UnlearningError(f"{named(source)}{of} cannot be read: {first}; {what_to_give(source)}") from error
