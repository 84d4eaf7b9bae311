"""The contract of a storage: files of a sweep on a local disk or any fsspec URI, each published atomically."""

from typing import Protocol

import pyarrow as pa
import pyarrow.fs


class Storage(Protocol):
    """A folder of files named by relative POSIX paths. Readers see the old content of a file or the new, never a part.

    Every method raises ``StorageError`` where the disk or the store fails. It raises ``SweepError`` for a path that
    could lead out of the folder: an absolute one, or one with an empty, ``.`` or ``..`` segment or a backslash. It
    raises ``IrregularFileError``, a ``StorageError``, where a folder on the path is a link, or where the path leads to
    something other than a plain file.
    """

    @property
    def uri(self) -> str:
        """The folder's location, as a user would write it."""

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """Make a file visible as a whole, replacing the one before."""

    def create(self, path: str, content: bytes) -> bool:
        """Make a file visible as a whole, only if there is none yet.

        Returns:
            True for exactly one of any number of concurrent callers; False where there is a file already. How far
            this holds on an object store depends on the store: see ``ObjectStorage.create``.
        """

    def read(self, path: str) -> bytes | None:
        """Read a file; None where there is none."""

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """List the visible files of a folder, sorted by path, each with a fingerprint that a republish changes."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    def move(self, path: str, to: str) -> None:
        """Move a file, if it is there, replacing any file at the new place."""

    def remove_leftovers(self) -> None:
        """Remove what crashed writers left behind, here and in all folders inside. Only safe while nobody writes."""

    def arrow(self, path: str | None = None) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return the filesystem for pyarrow's own readers, and the path in it of this folder or of a file inside.

        The filesystem of a local disk raises OSError; a path inside is first checked to be a plain file.
        """

    def child(self, name: str) -> "Storage":
        """Open a folder inside."""
