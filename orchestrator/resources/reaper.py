"""Ends what a killed process has started. Run as a program of its own, which outlives the process that it watches.

Ray's processes ask the kernel to be ended with their parent, and its workers end when they miss what started them. Both
leave a gap while Ray starts: between a fork and that request, and before a worker has found whom to miss. So they are
known by a variable of their environment, and looked for until none appears any more.

Only the standard library, and only as much of it as starts in a moment: ``python -I -S reaper.py NAME=VALUE``.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOK_EVERY_S = 0.1
QUIET_S = 2.0
"""Seconds without a process to be found, after which none is expected any more."""
QUIET_AFTER_END_S = 0.0
"""The same, where the watched process has ended in good order, and has ended its own processes."""
_NAME = "UNLEARN_SWEEP_SESSION"
_PROC = "/proc"


@contextmanager
def reaped(session: str) -> Iterator[None]:
    """Let what the block starts end with it, and with this process, however that ends. On Linux; elsewhere Ray does.

    Args:
        session: tells the processes of this block from any others.
    """
    import subprocess  # noqa: PLC0415  # not in the program, which has to start in a moment

    if not os.path.isdir(_PROC):  # noqa: PTH112  # as above: no pathlib
        yield
        return
    mark = f"{_NAME}={session}"
    program = [sys.executable, "-I", "-S", os.path.abspath(__file__), mark]  # noqa: PTH100
    with subprocess.Popen(program, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        before = os.environ.get(_NAME)
        os.environ[_NAME] = session
        try:
            yield
        finally:
            os.environ.pop(_NAME, None)
            if before is not None:
                os.environ[_NAME] = before
            with suppress(BrokenPipeError):
                process.stdin.write(b"end\n")
                process.stdin.flush()


def main(mark: str) -> None:
    """Wait until the process that started this one ends, or says that it will; then end what carries the mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are sent to the other one, which may take its time
    quiet_s = QUIET_AFTER_END_S if os.read(0, 16) else QUIET_S
    end_by = time.monotonic() + quiet_s
    while True:
        found = marked(mark)
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if found:
            end_by = time.monotonic() + quiet_s
        elif time.monotonic() >= end_by:
            return
        time.sleep(LOOK_EVERY_S)


def marked(mark: str) -> list[int]:
    """List the processes that were started with the mark in their environment."""
    found = []
    for name in os.listdir(_PROC):  # noqa: PTH208
        if name.isdigit():
            with suppress(OSError), open(f"{_PROC}/{name}/environ", "rb") as file:  # noqa: PTH123
                if mark.encode() in file.read().split(b"\0"):
                    found.append(int(name))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
