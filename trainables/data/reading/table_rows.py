"""Rows of tables: Parquet files and Hugging Face datasets. Only the columns that are asked for are read."""

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, IterableDataset, load_dataset, load_from_disk
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.packaged_modules.parquet.parquet import Parquet

from trainables.config import SourceConfig
from trainables.data.reading.source_files import chosen_split, named
from trainables.data.reading.text_rows import Row
from trainables.errors import UnlearningError

_ROWS_AT_ONCE = 1000


def parquet_columns(path: Path) -> list[str]:
    """Return the columns of a file; empty where it has no rows, since an empty file may have any columns."""
    names = list(_streamed(path).features or ())
    return names if names and next(iter(_streamed(path, names[:1])), None) is not None else []


def read_parquet(path: Path, columns: Collection[str]) -> Iterator[Row]:
    """Yield each row, with those ``columns`` that the file has. The file is streamed."""
    names = parquet_columns(path)
    if not names:
        return
    found_columns = [name for name in columns if name in names]
    unread = tuple(name for name in names if name not in found_columns)
    for number, fields in enumerate(_streamed(path, found_columns or names[:1]), start=1):
        yield Row(number=number, fields=fields if found_columns else {}, unread=unread)


def _streamed(path: Path, columns: Sequence[str] | None = None) -> IterableDataset:
    """Open a Parquet file as a stream.

    ``load_dataset`` would read its name as a glob pattern, and refuse files with different columns.
    """
    logging.getLogger(Parquet.__module__).setLevel(logging.CRITICAL)  # it logs what it raises
    files = DataFilesDict({"train": DataFilesList([str(path.absolute())], [])})
    parquet = Parquet(data_files=files, columns=columns, batch_size=_ROWS_AT_ONCE)
    stream = parquet.as_streaming_dataset(split="train")
    # a column that is read only to count rows may have any type, so it is not decoded
    return stream if columns is None else stream.decode(False)


def read_dataset(dataset: Dataset, columns: Collection[str]) -> Iterator[Row]:
    """Yield each row, with those ``columns`` that the dataset has; others may be images, which need a decoder."""
    found_columns = [name for name in columns if name in dataset.column_names]
    for number, fields in enumerate(dataset.select_columns(found_columns), start=1):
        yield Row(number=number, fields=fields)


def open_dataset(source: SourceConfig) -> Dataset:
    """Return a dataset of the hub, or of a folder that ``save_to_disk`` wrote.

    Raises:
        UnlearningError: the dataset has no such split.
    """
    if source.path is None:
        found: Any = load_dataset(source.dataset, source.name, revision=source.revision, split=source.split)
    else:
        found = load_from_disk(source.path)
    if isinstance(found, DatasetDict):
        chosen: Dataset = chosen_split(source, found)
        return chosen
    if source.path is not None and source.split is not None and source.split != str(found.split):
        raise UnlearningError(
            f"{named(source)}: split: found {source.split!r}, but the folder holds one dataset without splits; leave "
            f"'split' out"
        )
    return found
