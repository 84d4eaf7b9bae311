"""Files of a sweep on local disk or any fsspec URI, each published atomically."""

import contextlib
import os
import uuid
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import fsspec
import pyarrow as pa
import pyarrow.fs

from orchestrator.errors import SweepError


class Storage(Protocol):
    """A folder of files named by relative POSIX paths. ``publish`` shows the old content or the new, never a part."""

    @property
    def uri(self) -> str:
        """Where the folder is, as a user would write it."""

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """Make a file visible whole, replacing what was there."""

    def read(self, path: str) -> bytes | None:
        """Read a file; None where there is none."""

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """List the visible files of a folder, sorted by path, each with a fingerprint that a republish changes."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    def move(self, path: str, to: str) -> None:
        """Move a file, if it is there, replacing what was at the new place."""

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Give the filesystem for pyarrow's own readers, and this folder's path in it."""

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

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
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

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """See ``Storage``."""
        found = {}
        try:
            with os.scandir(self._root / folder) as entries:
                for entry in entries:
                    if entry.name.endswith(suffix) and not entry.name.startswith("."):
                        found[f"{folder}/{entry.name}"] = _fingerprint(entry)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return dict(sorted(found.items()))

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        (self._root / path).unlink(missing_ok=True)

    def move(self, path: str, to: str) -> None:
        """See ``Storage``."""
        (self._root / to).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self._root / path).replace(self._root / to)

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """See ``Storage``."""
        return pyarrow.fs.LocalFileSystem(), str(self._root)

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

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """See ``Storage``."""
        self._filesystem.pipe_file(f"{self._root}/{path}", bytes(content))

    def read(self, path: str) -> bytes | None:
        """See ``Storage``."""
        try:
            content: bytes = self._filesystem.cat_file(f"{self._root}/{path}")
        except FileNotFoundError:
            return None
        return content

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """See ``Storage``."""
        try:
            found = self._filesystem.ls(f"{self._root}/{folder}", detail=True)
        except FileNotFoundError:
            return {}
        named = {PurePosixPath(entry["name"]).name: entry for entry in found if entry["type"] == "file"}
        return {
            f"{folder}/{name}": _stamp(named[name])
            for name in sorted(named)
            if name.endswith(suffix) and not name.startswith(".")
        }

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        if self._filesystem.exists(f"{self._root}/{path}"):
            self._filesystem.rm_file(f"{self._root}/{path}")

    def move(self, path: str, to: str) -> None:
        """See ``Storage``. Not atomic: for a moment the file is at both places."""
        content = self.read(path)
        if content is not None:
            self.publish(to, content)
            self.remove(path)

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """See ``Storage``."""
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(self._filesystem)), self._root

    def child(self, name: str) -> "ObjectStorage":
        """See ``Storage``."""
        return ObjectStorage(f"{self._uri}/{name}")


def _fingerprint(entry: os.DirEntry[str]) -> str:
    """Tell one publish from the next: each is a new inode."""
    stat = entry.stat()
    return f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"


def _stamp(entry: dict[str, Any]) -> str:
    """Tell one PUT from the next: by its entity tag, or where the filesystem gives none, by size and time."""
    when = next((entry[key] for key in ("LastModified", "updated", "mtime", "created") if entry.get(key)), "")
    return str(entry.get("ETag") or entry.get("etag") or f"{entry['size']}-{when}")


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
