"""This machine and the processes on it, so that a driver's process is told from others of the same number."""

import contextlib
import socket
import uuid
from pathlib import Path

import psutil


def process_start(process: psutil.Process) -> float:
    """Return when a process began, in seconds since boot: both times move alike when the clock is set."""
    return float(process.create_time() - psutil.boot_time())


def this_machine() -> str:
    """Return the name of the machine as of this boot, with the namespace of its process numbers."""
    parts = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        with contextlib.suppress(OSError):
            parts.append(str(source.readlink()) if source.is_symlink() else source.read_text().strip())
    if len(parts) == 1:  # not Linux; hosts may share a name
        parts.append(f"{uuid.getnode():x}")
    return " ".join(parts)
