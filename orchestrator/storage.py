"""Files of a sweep on local disk or any fsspec URI, each published atomically."""

import os
import uuid
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import fsspec

from orchestrator.errors import SweepError


class Storage(Protocol):
    """A folder of files named by relative POSIX paths. ``publish`` shows the old content or the new, never a part."""

    @property
    def uri(self) -> str:
        """Where the folder is, as a user would write it."""

    def publish(self, path: str, content: bytes) -> None:
        """Make a file visible whole, replacing what was there."""

    def read(self, path: str) -> bytes | None:
        """Read a file; None where there is none."""

    def list(self, folder: str, suffix: str) -> list[str]:
        """List the visible files of a folder by path, sorted."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    def child(self, name: str) -> "Storage":
        """Open a folder inside."""


class LocalStorage:
    """Write aside, fsync, rename, fsync the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self._root)

    def publish(self, path: str, content: bytes) -> None:
        """See ``Storage``. A crash leaves at most a hidden ``.*.tmp`` file beside the target."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def read(self, path: str) -> bytes | None:
        """See ``Storage``."""
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, folder: str, suffix: str) -> list[str]:
        """See ``Storage``."""
        found = (self._root / folder).glob(f"*{suffix}")
        return sorted(f"{folder}/{path.name}" for path in found if not path.name.startswith("."))

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        (self._root / path).unlink(missing_ok=True)

    def child(self, name: str) -> "LocalStorage":
        """See ``Storage``."""
        return LocalStorage(self._root / name)


class ObjectStorage:
    """Any fsspec filesystem whose write of a whole object is one atomic PUT (``s3://``, ``gs://``, ``memory://``)."""

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        self._filesystem: Any
        self._filesystem, self._root = fsspec.core.url_to_fs(self._uri, use_listings_cache=False)

    @property
    def uri(self) -> str:
        """The folder's URI."""
        return self._uri

    def publish(self, path: str, content: bytes) -> None:
        """See ``Storage``."""
        self._filesystem.pipe_file(f"{self._root}/{path}", content)

    def read(self, path: str) -> bytes | None:
        """See ``Storage``."""
        try:
            content: bytes = self._filesystem.cat_file(f"{self._root}/{path}")
        except FileNotFoundError:
            return None
        return content

    def list(self, folder: str, suffix: str) -> list[str]:
        """See ``Storage``."""
        try:
            found = self._filesystem.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        names = (PurePosixPath(path).name for path in found)
        return sorted(f"{folder}/{name}" for name in names if name.endswith(suffix) and not name.startswith("."))

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        if self._filesystem.exists(f"{self._root}/{path}"):
            self._filesystem.rm_file(f"{self._root}/{path}")

    def child(self, name: str) -> "ObjectStorage":
        """See ``Storage``."""
        return ObjectStorage(f"{self._uri}/{name}")


def open_storage(location: str) -> Storage:
    """Open a local folder or a URI.

    Raises:
        SweepError: no filesystem is installed for the URI's scheme.
    """
    scheme, separator, rest = location.partition("://")
    if not separator:
        return LocalStorage(Path(location).absolute())
    if scheme == "file":
        return LocalStorage(Path("/" + rest.lstrip("/")))
    try:
        return ObjectStorage(location)
    except (ValueError, ImportError) as error:
        raise SweepError(
            f"storage '{location}': {error}; give a folder, or a URI whose fsspec package is installed"
        ) from None
