"""Where a Ray session of our own keeps its sockets and logs: a folder for its owner alone, with a short path.

Ray's own choice, ``/tmp/ray``, is open to everybody on the machine; and a long ``TMPDIR`` is too long for its sockets.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import SweepError, SweepInterruptedError
from trainables.errors import UserError

SOCKET_LIMIT = 103 if sys.platform == "darwin" else 107
"""Bytes that the operating system allows for the path of a socket."""
PREFIX = "unlearn-"
_LONGEST = f"/{PREFIX}12345678/ray/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
"""What Ray appends to the folder that holds a session's."""
LONGEST_PARENT = SOCKET_LIMIT - len(_LONGEST)
LEAST_FREE = 100 * 2**20
"""Bytes that a temporary folder must have free to be used."""


@contextmanager
def session_folder() -> Iterator[Path]:
    """Make a folder that only this user can enter. It is removed at the end, but for a run that failed: its logs may
    say why.

    Raises:
        SweepError: no temporary folder can be used, with what is wrong with each.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent_folder()))  # mode 0700
    kept = False
    try:
        yield folder
    except (UserError, SweepInterruptedError):
        raise
    except Exception:
        kept = True
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def parent_folder() -> Path:
    """Choose the temporary folder: the first that can be used of those that the environment names and the usual ones.

    Raises:
        SweepError: there is none.
    """
    obstacles = {}
    for folder in dict.fromkeys([*named_folders(), *_usual_folders()]):
        obstacle = obstacle_of(folder)
        if obstacle is None:
            return folder
        obstacles[folder] = obstacle
    listed = "\n".join(f"  {folder}: {obstacle}" for folder, obstacle in obstacles.items())
    raise SweepError(
        f"no temporary folder for Ray's sockets and logs:\n{listed}\nname another by RAY_TMPDIR: one that can be "
        f"written, whose path has at most {LONGEST_PARENT} bytes"
    )


def named_folders() -> list[Path]:
    """List the temporary folders that the environment names, the first choice first."""
    named = [os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR", "TEMP", "TMP")]
    return list(dict.fromkeys(Path(name).absolute() for name in named if name))


def _usual_folders() -> list[Path]:
    usual = ["/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"]  # noqa: S108  # mkdtemp makes ours
    return [Path(name) for name in usual if name]


def obstacle_of(folder: Path) -> str | None:
    """Return what keeps a folder from holding a Ray session; None: nothing does."""
    length = len(os.fsencode(folder))
    if length > LONGEST_PARENT:
        return f"its path has {length} bytes, and Ray's sockets allow for {LONGEST_PARENT}"
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"it cannot be written ({error.strerror})"
    return None if free >= LEAST_FREE else f"it is full: {free / 2**20:.0f} MiB are free"
