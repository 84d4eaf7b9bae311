"""Files of a sweep on local disk or any fsspec URI, each published atomically: the contract, and the way in."""

from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs

from orchestrator.errors import SweepError
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.object_store import ObjectStorage
from orchestrator.storage.secret_uris import require_plain_storage

__all__ = ["LocalStorage", "ObjectStorage", "Storage", "open_storage"]


class Storage(Protocol):
    """A folder of files named by relative POSIX paths. ``publish`` shows the old content or the new, never a part.

    Every method raises ``StorageError`` where the disk or the store fails it, and ``SweepError`` for a path that could
    lead out of the folder: an absolute one, or one with an empty, ``.`` or ``..`` segment or a backslash; and
    ``IrregularFileError``, a ``StorageError``, where there is a link on its way, or no plain file at its end.
    """

    @property
    def uri(self) -> str:
        """Where the folder is, as a user would write it."""

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """Make a file visible whole, replacing what was there."""

    def create(self, path: str, content: bytes) -> bool:
        """Make a file visible whole only where there is none.

        Returns:
            True for exactly one of any number of concurrent callers; False where there is a file already. How far
            that holds on an object store is the store's to say: see ``ObjectStorage.create``.
        """

    def read(self, path: str) -> bytes | None:
        """Read a file; None where there is none."""

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """List the visible files of a folder, sorted by path, each with a fingerprint that a republish changes."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    def move(self, path: str, to: str) -> None:
        """Move a file, if it is there, replacing what was at the new place."""

    def remove_leftovers(self) -> None:
        """Remove what crashed writers left aside, here and in all folders inside. Call it where nobody else writes."""

    def arrow(self, path: str | None = None) -> tuple[pyarrow.fs.FileSystem, str]:
        """Give the filesystem for pyarrow's own readers, and the path in it of this folder, or of a file inside.

        Of a disk, the filesystem raises OSError, and a file is made sure to be one.
        """

    def child(self, name: str) -> "Storage":
        """Open a folder inside."""


def open_storage(location: str) -> Storage:
    """Open a local folder or a URI.

    Raises:
        SweepError: no filesystem is installed for the URI's scheme, or the URI has a secret in it.
    """
    require_plain_storage(location)
    scheme, separator, rest = location.partition("://")
    if not separator:
        return LocalStorage(Path(location).absolute())
    if scheme in ("file", "local"):
        return LocalStorage(Path("/" + rest.lstrip("/")))
    try:
        return ObjectStorage(location)
    except (ValueError, ImportError) as error:
        raise SweepError(
            f"storage '{location}': {error}; give a folder, or a URI whose fsspec package is installed"
        ) from None
