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
    - when the size has to grow, the new file begins with the whole old file, including its footer. Behind it all rows
      are written anew, as one row group, since every row group takes a reader as long as hundreds of rows.
    """

    def __init__(self, rows: pa.Table, *, after: bytes = b"") -> None:
        """Begin a file of these rows, which may be none. It is to replace ``after``, which is no version of it."""
        self.rows = rows
        self._size = SMALLEST
        self._body: bytes
        self._footer: bytes
        self._metadata: pq.FileMetaData
        self._begin(after)

    def append(self, rows: pa.Table, *, last: bool = False) -> None:
        """Add one row group; or, where it does not fit, write all rows as one.

        After the ``last`` rows, which may be none, all are one row group, and no space is left for others.
        """
        groups = self._metadata.num_row_groups
        if not rows.num_rows and (groups < 2 or not last):
            return
        self.rows = pa.concat_tables([self.rows, rows])
        if last and groups:
            self._begin(self.content())
            self._size = len(self._body) + len(self._footer)
            return
        pages, metadata = _written(rows, at=len(self._body))
        self._metadata.append_row_groups(metadata)
        footer = _footer(self._metadata)
        if len(self._body) + len(pages) + len(footer) > self._size:
            self._begin(self.content())
        else:
            self._body, self._footer = self._body + pages, footer

    def _begin(self, after: bytes) -> None:
        """Write all rows as one row group behind other bytes."""
        pages, self._metadata = _written(self.rows, at=len(after))
        self._body, self._footer = after + pages, _footer(self._metadata)
        while len(self._body) + len(self._footer) > self._size:
            self._size *= 2

    def content(self) -> bytes:
        """Return the whole file."""
        return self._body + bytes(self._size - len(self._body) - len(self._footer)) + self._footer


def may_replace(before: bytes, after: bytes) -> bool:
    """Return whether a reader that has the size or footer of one file reads whole rows if it then opens another one.

    The rows of the one must stand in the other as well, and there must be a footer where the size leads.
    """
    try:
        metadata = pq.read_metadata(pa.BufferReader(before))
    except (pa.ArrowException, OSError):  # nobody reads rows of it
        return True
    rows_end = 0
    if metadata.num_row_groups:
        group = metadata.row_group(metadata.num_row_groups - 1)
        column = group.column(group.num_columns - 1)
        rows_end = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size
    is_footer_there = len(before) <= len(after) and after[: len(before)].endswith(before[-4:])
    return before[:rows_end] == after[:rows_end] and is_footer_there


AFTER_AT_MOST = 2**17
"""The most bytes of earlier versions that a replaced file keeps in front of its own."""


def encode(rows: pa.Table, *, after: bytes | None = None) -> bytes:
    """Return a file of these rows, to replace the file ``after`` if there is one.

    It begins with the whole of the other file, unused, for a reader that already has the old footer: see
    ``GrowingFile``.
    """
    before = after if after is not None and len(after) <= AFTER_AT_MOST else b""
    pages, metadata = _written(rows, at=len(before))
    return before + pages + _footer(metadata)


STATISTICS = ("trial_id", "stratum", "forget_set", "seed", "replicate", "optimizer", "learning_rate", "step")
"""Columns that readers filter by. For others, storing the smallest and largest value is not worth the bytes."""


def _written(rows: pa.Table, *, at: int) -> tuple[bytes, pq.FileMetaData]:
    """Return the pages of one row group, to be placed behind ``at`` other bytes, and what a footer says of them.

    Without rows there is no row group. Every page has a checksum. With no other bytes the pages begin a file. The
    options are for small files that are written often: Snappy with dictionaries only for texts takes half the time of
    Zstandard with dictionaries for numbers too, and as many bytes.
    """
    options = {
        "compression": "snappy",
        "use_dictionary": [column.name for column in rows.schema if pa.types.is_string(column.type)],
        "write_statistics": [name for name in rows.schema.names if name in STATISTICS],
        "write_page_checksum": True,
    }
    sink = pa.BufferOutputStream()
    found: list[pq.FileMetaData] = []
    with pq.ParquetWriter(sink, rows.schema, metadata_collector=found, **options) as writer:  # it has written "PAR1"
        sink.write(bytes(max(at - sink.tell(), 0)))
        if rows.num_rows:
            writer.write_table(rows)
    content = bytes(sink.getvalue())
    end = -8 - int.from_bytes(content[-8:-4], "little")  # before the footer, its length and "PAR1"
    return content[at:end], found[0]


def _footer(metadata: pq.FileMetaData) -> bytes:
    """Return the end of a Parquet file: what it says of its rows, and where that begins."""
    sink = pa.BufferOutputStream()
    metadata.write_metadata_file(sink)  # begins with "PAR1", as a file does
    return bytes(sink.getvalue())[4:]


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
