"""One Parquet file of the ledger: rows to bytes, and bytes to rows that are checked and have the present schema."""

import contextlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import StorageError, SweepError
from orchestrator.ledger.schema import SCHEMA_VERSION, VERSION_KEY
from orchestrator.ledger.tables.migrations import FindTrial, migrate


class UnreadableFileError(Exception):
    """The file is truncated, damaged, or not of a ledger."""


@contextlib.contextmanager
def only_damage() -> Iterator[None]:
    """Tell damage of a file apart from failures of the reader, while bytes are read as Parquet.

    Raises:
        UnreadableFileError: the bytes are not a whole Parquet file, or lack the columns asked for.
        StorageError: the reader has too little memory, or the system failed; the file may be sound.
    """
    try:
        yield
    except MemoryError as error:  # Arrow's own is one too
        raise StorageError(f"too little memory to read it ({error})") from error
    except pa.ArrowCancelled:
        raise
    except OSError as error:
        if error.errno is not None:  # Arrow raises OSErrors of bytes too, without a system's number
            raise StorageError(f"cannot read it: {error.strerror or error}") from error
        raise UnreadableFileError(str(error)) from None
    except (pa.ArrowException, ValueError, KeyError, TypeError, IndexError) as error:
        raise UnreadableFileError(str(error)) from None


SMALLEST = 2**16
"""Bytes of a growing file that holds little."""


class GrowingFile:
    """A Parquet file that grows by row groups, and may be replaced by its next version while somebody reads it.

    DuckDB and Polars open a file more than once: for its size, for its footer and for its rows. Whichever versions they
    open, they read one whole version, because

    - rows stay where they are: the rows that an old footer names are in the new file too;
    - the size stays, by padding between rows and footer, so the footer is where the old size leads;
    - when the size has to double, the new file begins with the whole old file, including its footer.
    """

    def __init__(self) -> None:
        self._size = SMALLEST
        self._body = b""
        self._footer = b""
        self._metadata: pq.FileMetaData | None = None

    def append(self, rows: pa.Table) -> None:
        """Add one row group."""
        written = _written(rows, at=len(self._body))
        if self._metadata is not None and len(self._body) + len(self._footer) + len(written) > self._size:
            self._body = self.content()
            written = _written(rows, at=len(self._body))
        metadata = pq.read_metadata(pa.BufferReader(written))
        self._body += written[: -8 - int.from_bytes(written[-8:-4], "little")]  # the footer, its length, "PAR1"
        if self._metadata is None:
            self._metadata = metadata
        else:
            self._metadata.append_row_groups(metadata)
        sink = pa.BufferOutputStream()
        self._metadata.write_metadata_file(sink)  # begins with "PAR1", as a file does
        self._footer = bytes(sink.getvalue())[4:]
        while len(self._body) + len(self._footer) > self._size:
            self._size *= 2

    def content(self) -> bytes:
        """Return the whole file. At least one row group must have been added, which may be empty."""
        assert self._footer
        return self._body + bytes(self._size - len(self._body) - len(self._footer)) + self._footer


AFTER_AT_MOST = 2**17
"""The most bytes of earlier versions that a replaced file keeps in front of its own."""


def encode(rows: pa.Table, *, after: bytes | None = None) -> bytes:
    """Return a file of these rows, to replace the file ``after`` if there is one.

    It begins with the whole of the other file, unused, for a reader that already has the old footer: see
    ``GrowingFile``.
    """
    before = after if after is not None and len(after) <= AFTER_AT_MOST else b""
    return before + _written(rows, at=len(before))


STATISTICS = ("trial_id", "stratum", "forget_set", "seed", "replicate", "optimizer", "learning_rate", "step")
"""Columns that readers filter by. For others, storing the smallest and largest value is not worth the bytes."""


def _written(rows: pa.Table, *, at: int) -> bytes:
    """Return a file of one row group, with a checksum on every page, to be placed behind ``at`` other bytes.

    The options are for small files that are written often: Snappy with dictionaries only for texts takes half the time
    of Zstandard with dictionaries for numbers too, and as many bytes.
    """
    options = {
        "compression": "snappy",
        "use_dictionary": [column.name for column in rows.schema if pa.types.is_string(column.type)],
        "write_statistics": [name for name in rows.schema.names if name in STATISTICS],
        "write_page_checksum": True,
    }
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, **options) as writer:  # it has written "PAR1"
        sink.write(bytes(max(at - sink.tell(), 0)))
        writer.write_table(rows)
    return bytes(sink.getvalue())[at:]


def decode(content: bytes, name: str, schema: pa.Schema, *, find_trial: FindTrial) -> tuple[pa.Table, int]:
    """Return the rows of a file of the table ``name`` in the present schema, and the schema version of the file.

    Raises:
        UnreadableFileError: truncated, a checksum is wrong, or the columns are not the table's.
        StorageError: see ``only_damage``.
        SweepError: a newer version of this tool wrote it.
    """
    try:
        with only_damage():
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            table = file.read(use_threads=False)
            table.validate(full=True)
    except UnreadableFileError as error:
        raise UnreadableFileError(f"not a whole Parquet file ({error})") from None
    version = _version(table.schema)
    if version > SCHEMA_VERSION:
        raise SweepError(
            f"{name}: a file has schema version {version}, and this unlearn-sweep reads up to {SCHEMA_VERSION}; "
            f"upgrade unlearn-sweep"
        )
    if version < 1:
        raise UnreadableFileError("no file of a ledger: it names no schema version")
    try:
        with only_damage():
            return migrate(name, table, version, find_trial=find_trial).cast(schema), version
    except UnreadableFileError as error:
        raise UnreadableFileError(f"not the columns of {name} ({error})") from None


def _version(schema: pa.Schema) -> int:
    """Return the schema version that a file names; 0 where it names none."""
    named = (schema.metadata or {}).get(VERSION_KEY, b"0")
    return int(named) if named.isdigit() and len(named) < 10 else 0
