"""Folders and plain files opened one inside the other, so that no link is followed, and put on disk.

Each function works on an open folder's descriptor: no link can be put in the way between two steps.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class IrregularEntryError(Exception):
    """There is a link, a pipe or the like at a name where a plain file or a folder is expected."""


def step_into(folder: int, name: str, *, make: bool) -> int:
    """Open the folder of a name inside an open folder, and close the outer one."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
            os.fsync(folder)  # the new name is on disk before a file inside is
    try:
        inside = os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            raise IrregularEntryError(f"'{name}' is {_kind(mode)}, and a folder is expected there") from None
        raise
    os.close(folder)
    return inside


@contextlib.contextmanager
def opened_to_read(folder: int, name: str) -> Iterator[int]:
    """Open a plain file, without waiting for a pipe."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):
            raise IrregularEntryError(f"it is {_kind(mode)}, and a file is expected there") from None
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise IrregularEntryError(f"it is {_kind(mode)}, and a file is expected there")
        yield descriptor
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link, which may lead out of the sweep and is not followed"
    return "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "a pipe or a device"


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; each new name is on disk before a file inside is."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
