"""Files of a sweep on a local disk, or on whatever is mounted there."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from orchestrator.errors import IrregularFileError, StorageError
from orchestrator.storage.descriptors import FOLDER_FLAGS, IrregularEntryError, make_folder, opened_to_read, step_into
from orchestrator.storage.paths import checked_path

_ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


class LocalStorage:
    """A folder on a disk. Files are written aside, fsynced, renamed or linked, and their folder is fsynced.

    The root may be reached through symbolic links, since its owner chose its place. Below it no link is followed, and
    only plain files are accepted (``IrregularFileError``). So nothing outside the folder is read or changed, whoever
    made it. Folders are opened one inside the other, so no link can be put in the way meanwhile.

    A crash leaves at most a hidden ``.*.tmp`` file beside the target. Once a call has returned, what it published or
    created is on disk; a removal or a move may be undone by a power failure. See ``Storage`` for the contract.
    """

    def __init__(self, root: Path, inside: tuple[str, ...] = ()) -> None:
        self._root = root
        self._inside = inside

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self._root.joinpath(*self._inside))

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """See ``Storage``. If only the last fsync fails, that of the folder, the new content is still visible."""
        with self._explained(path, "write"), self._written_aside(path, content) as (folder, aside, name):
            os.replace(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def create(self, path: str, content: bytes) -> bool:
        """See ``Storage``. Needs a filesystem with hard links: of concurrent ``link`` calls, one succeeds."""
        with self._explained(path, "create"), self._written_aside(path, content) as (folder, aside, name):
            try:
                os.link(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
            except FileExistsError:
                return False
            os.fsync(folder)
        return True

    def read(self, path: str) -> bytes | None:
        """See ``Storage``."""
        with (
            self._explained(path, "read"),
            contextlib.suppress(FileNotFoundError),
            self._folder_of(path) as (folder, name),
            opened_to_read(folder, name) as descriptor,
            open(descriptor, "rb", closefd=False) as file,
        ):
            return file.read()
        return None

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """See ``Storage``. Links and the like are listed too; ``read`` refuses them."""
        found = {}
        with (
            self._explained(folder, "list"),
            contextlib.suppress(FileNotFoundError),
            self._folder(checked_path(folder).split("/")) as descriptor,
        ):
            for entry in list(os.scandir(descriptor)):
                if entry.name.endswith(suffix) and not entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                        found[f"{folder}/{entry.name}"] = _fingerprint(entry)
        return dict(sorted(found.items()))

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        with (
            self._explained(path, "remove"),
            contextlib.suppress(FileNotFoundError),
            self._folder_of(path) as (folder, name),
        ):
            os.unlink(name, dir_fd=folder)

    def move(self, path: str, to: str) -> None:
        """See ``Storage``. A link is moved itself; a folder is moved with its content."""
        checked_path(to)
        with (
            self._explained(path, f"move to {to}"),
            contextlib.suppress(FileNotFoundError),
            self._folder_of(path) as (source, name),
        ):
            os.stat(name, dir_fd=source, follow_symlinks=False)  # or a folder is made for nothing
            with self._folder_of(to, make=True) as (target, new_name):
                os.replace(name, new_name, src_dir_fd=source, dst_dir_fd=target)

    def remove_leftovers(self) -> None:
        """See ``Storage``. A writer at work would lose its file, and fail."""
        with (
            self._explained("", "remove what crashes left in"),
            contextlib.suppress(FileNotFoundError),
            self._folder([]) as root,
        ):
            for _, _, names, folder in os.fwalk(".", onerror=_unless_missing, dir_fd=root):
                for name in filter(_ASIDE.fullmatch, names):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)

    def arrow(self, path: str | None = None) -> tuple[pyarrow.fs.FileSystem, str]:
        """See ``Storage``."""
        if path is None:
            return pyarrow.fs.LocalFileSystem(), self.uri
        with self._explained(path, "read"), self._folder_of(path) as (folder, name), opened_to_read(folder, name):
            return pyarrow.fs.LocalFileSystem(), f"{self.uri}/{path}"

    def child(self, name: str) -> "LocalStorage":
        """See ``Storage``."""
        return LocalStorage(self._root, (*self._inside, *checked_path(name).split("/")))

    @contextlib.contextmanager
    def _folder_of(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder that holds a path; yield its descriptor and the name in it."""
        *folders, name = checked_path(path).split("/")
        with self._folder(folders, make=make) as descriptor:
            yield descriptor, name

    @contextlib.contextmanager
    def _folder(self, names: list[str], *, make: bool = False) -> Iterator[int]:
        """Open a folder below the root; missing folders are made, or raise FileNotFoundError."""
        if make:
            make_folder(self._root)
        try:
            descriptor = os.open(self._root, FOLDER_FLAGS)
        except NotADirectoryError as error:  # there can be no sweep in a file
            raise FileNotFoundError(error.errno, error.strerror) from None
        try:
            for name in (*self._inside, *names):
                descriptor = step_into(descriptor, name, make=make)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _written_aside(self, path: str, content: bytes | pa.Buffer) -> Iterator[tuple[int, str, str]]:
        """Write a hidden file beside the target, onto the disk, and yield their folder and names; remove it later."""
        with self._folder_of(path, make=True) as (folder, name):
            aside = f".{name}.{uuid.uuid4().hex[:8]}.tmp"
            try:
                with open(aside, "xb", opener=lambda path, flags: os.open(path, flags, 0o666, dir_fd=folder)) as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                yield folder, aside, name
            finally:
                with contextlib.suppress(OSError):  # what made the write fail may forbid this too: that is reported
                    os.unlink(aside, dir_fd=folder)

    @contextlib.contextmanager
    def _explained(self, path: str, doing: str) -> Iterator[None]:
        """Turn errors of the system into errors that say what was being done, and where."""
        place = f"{self.uri}/{path}" if path else self.uri
        try:
            yield
        except IrregularEntryError as error:
            raise IrregularFileError(f"{place}: cannot {doing}: {error}") from None
        except OSError as error:
            raise StorageError(f"{place}: cannot {doing}: {error.strerror or error}") from error


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _fingerprint(entry: os.DirEntry[str]) -> str:
    """Return text that differs after each publish, which makes a new inode."""
    found = entry.stat(follow_symlinks=False)
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"
