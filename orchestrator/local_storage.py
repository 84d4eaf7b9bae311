"""Files of a sweep on a local disk, or on whatever is mounted there."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from orchestrator.errors import StorageError
from orchestrator.paths import checked

_ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


class LocalStorage:
    """Write aside, fsync, rename or link, fsync the folder.

    A crash leaves at most a hidden ``.*.tmp`` file beside the target. What a returned call published or created is on
    disk; a removal or a move may be undone by a power failure. See ``Storage`` for what each method promises.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self._root)

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """See ``Storage``. If only the last fsync, of the folder, fails, the new content is visible all the same."""
        target = self._place(path)
        with _explained(target, "write"), _written_aside(target, content) as aside:
            aside.replace(target)
            sync(target.parent)

    def create(self, path: str, content: bytes) -> bool:
        """See ``Storage``. Needs a filesystem with hard links: of concurrent ``link`` calls, one succeeds."""
        target = self._place(path)
        with _explained(target, "create"), _written_aside(target, content) as aside:
            try:
                os.link(aside, target)
            except FileExistsError:
                return False
            sync(target.parent)
        return True

    def read(self, path: str) -> bytes | None:
        """See ``Storage``."""
        target = self._place(path)
        with _explained(target, "read"):
            try:
                return target.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """See ``Storage``."""
        place = self._place(folder)
        found = {}
        with _explained(place, "list"):
            try:
                entries = list(os.scandir(place))
            except (FileNotFoundError, NotADirectoryError):
                return {}
            for entry in entries:
                if entry.name.endswith(suffix) and not entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                        found[f"{folder}/{entry.name}"] = _fingerprint(entry)
        return dict(sorted(found.items()))

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        target = self._place(path)
        with _explained(target, "remove"), contextlib.suppress(NotADirectoryError):
            target.unlink(missing_ok=True)

    def move(self, path: str, to: str) -> None:
        """See ``Storage``."""
        source, target = self._place(path), self._place(to)
        with _explained(source, f"move to {target}"):
            _make_folder(target.parent)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                source.replace(target)

    def remove_leftovers(self) -> None:
        """See ``Storage``. A writer at work would miss its file, and fail."""
        with _explained(self._root, "remove what crashes left in"):
            for folder, _, names in os.walk(self._root, onerror=_unless_missing):
                for name in names:
                    if _ASIDE.fullmatch(name):
                        Path(folder, name).unlink(missing_ok=True)

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """See ``Storage``."""
        return pyarrow.fs.LocalFileSystem(), str(self._root)

    def child(self, name: str) -> "LocalStorage":
        """See ``Storage``."""
        return LocalStorage(self._place(name))

    def _place(self, path: str) -> Path:
        return self._root / checked(path)


@contextlib.contextmanager
def _explained(place: Path, doing: str) -> Iterator[None]:
    """Say of an error of the system what was being done, and where."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{place}: cannot {doing}: {error.strerror or error}") from error


@contextlib.contextmanager
def _written_aside(target: Path, content: bytes | pa.Buffer) -> Iterator[Path]:
    """Give a hidden file beside the target that holds the content, on disk; afterwards it is gone."""
    _make_folder(target.parent)
    aside = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield aside
    finally:
        with contextlib.suppress(OSError):  # what made the write fail may forbid this too, and is what to report
            aside.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each new name on disk before a file inside is."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _fingerprint(entry: os.DirEntry[str]) -> str:
    """Tell one publish from the next: each is a new inode."""
    stat = entry.stat()
    return f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"
