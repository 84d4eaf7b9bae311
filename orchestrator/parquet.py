"""One Parquet file of the ledger, from rows to bytes and back: checked, and brought to the present schema."""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import SweepError
from orchestrator.schema import SCHEMA_VERSION, VERSION_KEY, migrate

FindTrial = Callable[[str], Mapping[str, Any] | None]


class UnreadableFileError(Exception):
    """The file is truncated, damaged, or not of a ledger."""


def encode(table: pa.Table) -> bytes:
    """Write a table, with a checksum on every page.

    Made for small files that are written often: Snappy, and dictionaries of texts only, take half the time of Zstandard
    and dictionaries of numbers too, for as many bytes.
    """
    texts = [column.name for column in table.schema if pa.types.is_string(column.type)]
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="snappy", use_dictionary=texts, write_page_checksum=True)
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def decode(content: bytes, name: str, schema: pa.Schema, *, find_trial: FindTrial) -> tuple[pa.Table, int]:
    """Read a file of the table ``name``: its rows in the present schema, and the version that it was written in.

    Raises:
        UnreadableFileError: truncated, a checksum is wrong, or the columns are not the table's.
        SweepError: a newer version of this tool wrote it.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableFileError(f"not a whole Parquet file ({error})") from None
    version = _version(table.schema)
    if version > SCHEMA_VERSION:
        raise SweepError(
            f"{name}: a file has schema version {version}, and this unlearn-sweep reads up to {SCHEMA_VERSION}; "
            f"upgrade unlearn-sweep"
        )
    if version < 1:
        raise UnreadableFileError("no file of a ledger: it names no schema version")
    table = migrate(name, table, version, find_trial=find_trial)
    try:
        return table.cast(schema), version
    except (pa.ArrowException, ValueError) as error:
        raise UnreadableFileError(f"not the columns of {name} ({error})") from None


def _version(schema: pa.Schema) -> int:
    """Give the schema version that a file names; 0 where it names none."""
    named = (schema.metadata or {}).get(VERSION_KEY, b"0")
    return int(named) if named.isdigit() else 0
