"""Die at any file-system call: a seam around those that the storage makes. Linux and macOS."""

import builtins
import io
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = ("fsync", "rename", "replace", "link", "unlink", "mkdir")
"""Of the module ``os``, through which ``pathlib`` goes too; opening to write and writing are counted besides."""


class Seam:
    """Counts the moments before and after every call, and kills its own process at one of them.

    A write dies half-way too: that is a third moment.
    """

    def __init__(self, die_at: int | None) -> None:
        self._die_at = die_at
        self.moments: list[str] = []

    def install(self) -> None:
        """Put the seam in place, for the life of this process."""
        for name in CALLS:
            setattr(os, name, self._around(name, getattr(os, name)))
        self._open = io.open
        io.open = builtins.open = self._watched_open

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self._moment(f"before {name}")
            result = call(*arguments, **options)
            self._moment(f"after {name}")
            return result

        return watched

    def _watched_open(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "w" not in mode and "x" not in mode:
            return self._open(file, mode, *arguments, **options)
        self._moment("before open")
        opened = self._open(file, mode, *arguments, **options)
        self._moment("after open")
        return _WatchedFile(opened, self._moment)

    def _moment(self, name: str) -> None:
        self.moments.append(name)
        if len(self.moments) - 1 == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


class _WatchedFile:
    """A file whose writes are seen; half of one reaches the disk before its middle moment."""

    def __init__(self, file: Any, moment: Callable[[str], None]) -> None:
        self._file = file
        self._moment = moment

    def write(self, content: Any) -> int:
        content = bytes(content)
        self._moment("before write")
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._moment("amid write")
        self._file.write(content[half:])
        self._file.flush()
        self._moment("after write")
        return len(content)

    def __enter__(self) -> "_WatchedFile":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def run_in_child(work: Callable[[], None], die_at: int | None, report: Path) -> list[str] | None:
    """Run in a forked child that dies at a moment; give the moments if it came to its end, None if it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            seam = Seam(die_at)
            seam.install()
            work()
            os.write(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "\n".join(seam.moments).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.waitstatus_to_exitcode(status) == 0, "the work failed; its traceback is above"
    return report.read_text().splitlines()
