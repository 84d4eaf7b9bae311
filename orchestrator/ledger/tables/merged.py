"""Merged copies of tables with many small files: derived, kept beside the tables, and used only while they are current.

The files of trials stay where they are. A reader that has listed ``evaluations/`` may open any of them at any later
moment, so a committed row could not move to another file without some reader seeing it twice, or not at all. Therefore
merged copies live outside the tables' folders. A table has one copy for every ``ROWS_A_COPY`` rows or so. Each copy
names the files that it was made of; once one of these has changed, the copy is ignored until the next merge.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import IrregularFileError, LedgerWarning, StorageError
from orchestrator.ledger.schema import SCHEMA_VERSION, TABLES
from orchestrator.ledger.tables.parquet import UnreadableFileError, only_damage
from orchestrator.ledger.tables.table_builder import TableBuilder
from orchestrator.storage import Storage

FOLDER = "merged"
SOURCES_KEY = b"unlearn_sweep_sources"
ORDER = ("forget_set", "learning_rate", "step", "trial_id")
"""Rows of a copy are sorted by these columns, as far as the table has them."""
ROWS_A_COPY, ROWS_A_GROUP = 262_144, 32_768
"""Rows of a copy bound the memory that merging takes. Rows of a group are what a filter reads or skips at once."""


@dataclass(frozen=True, kw_only=True)
class MergedCopy:
    """A current merged copy of a part of a table."""

    path: str
    sources: frozenset[str]
    """Paths of the files whose rows it holds."""
    dataset: ds.Dataset


def find(storage: Storage, name: str, files: dict[str, str]) -> list[MergedCopy]:
    """Return the current merged copies of a table, no two of which share a file.

    A damaged copy is named in a warning; nothing is lost with it, since the trials' own files have every row.

    Args:
        storage: the sweep's folder.
        name: of the table.
        files: the table's files, with their fingerprints.
    """
    checked = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    )
    found: list[MergedCopy] = []
    taken: set[str] = set()
    for path in _listed(storage):
        if not path.startswith(f"{FOLDER}/{name}-v{SCHEMA_VERSION}-"):
            continue
        try:
            with only_damage():
                filesystem, place = storage.arrow(path)
                sources = _sources(pq.read_schema(place, filesystem=filesystem), TABLES[name])
                if sources and sources.items() <= files.items() and taken.isdisjoint(sources):
                    dataset = ds.dataset(place, filesystem=filesystem, format=checked)
                    found.append(MergedCopy(path=path, sources=frozenset(sources), dataset=dataset))
                    taken.update(sources)
        except (UnreadableFileError, IrregularFileError) as error:
            _warn(storage, path, str(error))
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):  # replaced since it was listed
                raise
    return found


def dataset_of(copies: Sequence[MergedCopy], rest: pa.Table) -> ds.Dataset:
    """Return merged copies of a table, and the rows that are in none of them, as one dataset."""
    direct = ds.dataset(rest)
    return ds.dataset([*(copy.dataset.replace_schema(rest.schema) for copy in copies), direct]) if copies else direct


_STAMP = TypeAdapter(dict[str, str])


def _sources(found: pa.Schema, schema: pa.Schema) -> dict[str, str]:
    """Return the files that a copy was made of, with their fingerprints at that time.

    Raises:
        ValueError: the copy has other columns than its table, or does not name its files.
    """
    if not found.equals(schema, check_metadata=False):
        raise ValueError("it has other columns than its table")
    try:
        return _STAMP.validate_json((found.metadata or {}).get(SOURCES_KEY, b""), strict=True)
    except ValidationError as error:
        raise ValueError(f"its list of sources cannot be read ({error.errors()[0]['msg']})") from None


def _listed(storage: Storage) -> list[str]:
    try:
        return list(storage.files(FOLDER, ".parquet"))
    except IrregularFileError as error:
        _warn(storage, FOLDER, str(error))
        return []


def _warn(storage: Storage, path: str, reason: str) -> None:
    warnings.warn(
        f"{storage.uri}/{path}: no sound merged copy ({reason}); the trials' own files are read in its place",
        LedgerWarning,
        stacklevel=4,
    )


def write(
    storage: Storage, name: str, schema: pa.Schema, files: dict[str, str], tables: Iterable[tuple[str, pa.Table]]
) -> None:
    """Write the merged copies of a table, and remove its older ones.

    Args:
        storage: the sweep's folder.
        name: of the table.
        schema: of the table.
        files: the files that are merged, with their fingerprints from before they were read.
        tables: the path and rows of each file, in the order that copies are to have.
    """
    written = set()
    for number, (sources, unsorted) in enumerate(_parts(tables)):
        stamp = json.dumps({path: files[path] for path in sources}, sort_keys=True).encode()
        rows = unsorted.sort_by([(column, "ascending") for column in ORDER if column in schema.names])
        rows = rows.replace_schema_metadata({**(schema.metadata or {}), SOURCES_KEY: stamp})
        buffer = pa.BufferOutputStream()
        pq.write_table(rows, buffer, row_group_size=ROWS_A_GROUP, compression="zstd", write_page_checksum=True)
        stamped = hashlib.sha256(stamp).hexdigest()[:16]
        path = f"{FOLDER}/{name}-v{SCHEMA_VERSION}-{number:05d}-{stamped}.parquet"
        storage.publish(path, buffer.getvalue())
        written.add(path)
    for other in storage.files(FOLDER, ".parquet"):
        if other.startswith(f"{FOLDER}/{name}-") and other not in written:
            storage.remove(other)


def _parts(tables: Iterable[tuple[str, pa.Table]]) -> Iterator[tuple[list[str], pa.Table]]:
    """Yield the paths and rows of as many small tables as fill a copy, until all are used."""
    sources: list[str] = []
    rows = TableBuilder()
    for path, table in tables:
        sources.append(path)
        rows.add(table)
        if rows.count >= ROWS_A_COPY:
            yield sources, rows.table()
            sources, rows = [], TableBuilder()
    if sources:
        yield sources, rows.table()
