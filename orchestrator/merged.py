"""Merged copies of tables with many small files: derived, beside the tables, and used only while they are current.

The files of trials stay where they are. A reader that listed ``evaluations/`` may open any of them at any later moment,
so a committed row can never move to another file without being seen twice, or not at all, by somebody. A merged copy
therefore lives outside the tables' folders, and names the files it was made of; once one of those has changed, the copy
is ignored until the next merge.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from orchestrator.schema import SCHEMA_VERSION
from orchestrator.storage import Storage

FOLDER = "merged"
SOURCES_KEY = b"unlearn_sweep_sources"
ROWS_A_GROUP = 65_536


@dataclass(frozen=True, kw_only=True)
class MergedCopy:
    """A table's merged copy that is current."""

    path: str
    sources: frozenset[str]
    """The files whose rows it holds."""
    dataset: ds.Dataset


def find(storage: Storage, name: str, files: dict[str, str]) -> MergedCopy | None:
    """Find the current merged copy of a table whose files (path: fingerprint) are these; None: there is none."""
    filesystem, root = storage.arrow()
    for path in storage.files(FOLDER, ".parquet"):
        if not path.startswith(f"{FOLDER}/{name}-v{SCHEMA_VERSION}-"):
            continue
        try:
            metadata = pq.read_metadata(f"{root}/{path}", filesystem=filesystem).metadata or {}
        except (pa.ArrowException, OSError):
            continue  # damaged, or replaced since it was listed: the trials' own files have every row
        sources: dict[str, str] = json.loads(metadata.get(SOURCES_KEY, b"{}"))
        if sources and sources.items() <= files.items():
            checked = ds.ParquetFileFormat(
                default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
            )
            dataset = ds.dataset(f"{root}/{path}", filesystem=filesystem, format=checked)
            return MergedCopy(path=path, sources=frozenset(sources), dataset=dataset)
    return None


def write(storage: Storage, name: str, schema: pa.Schema, sources: dict[str, str], tables: Iterable[pa.Table]) -> None:
    """Write the merged copy of a table, in the order of ``tables``, and remove its older ones.

    Args:
        storage: the sweep's folder.
        name: of the table.
        schema: of the table.
        sources: the files that are merged (path: fingerprint as of before they were read).
        tables: their rows.
    """
    stamp = json.dumps(sources, sort_keys=True).encode()
    buffer = pa.BufferOutputStream()
    described = schema.with_metadata({**(schema.metadata or {}), SOURCES_KEY: stamp})
    with pq.ParquetWriter(buffer, described, compression="zstd", write_page_checksum=True) as writer:
        for group in _row_groups(tables):
            writer.write_table(group.replace_schema_metadata(described.metadata), row_group_size=ROWS_A_GROUP)
    path = f"{FOLDER}/{name}-v{SCHEMA_VERSION}-{hashlib.sha256(stamp).hexdigest()[:16]}.parquet"
    storage.publish(path, buffer.getvalue())
    for other in storage.files(FOLDER, ".parquet"):
        if other.startswith(f"{FOLDER}/{name}-") and other != path:
            storage.remove(other)


def _row_groups(tables: Iterable[pa.Table]) -> Iterable[pa.Table]:
    """Gather small tables until they fill a row group."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= ROWS_A_GROUP:
            yield pa.concat_tables(waiting)
            waiting, count = [], 0
    if waiting:
        yield pa.concat_tables(waiting)
