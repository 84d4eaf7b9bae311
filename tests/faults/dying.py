"""Processes that note every event of theirs in a log, and die at one of them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.storage import LocalStorage

Event = Callable[..., None]
"""Notes one event, given by its words."""


def events_of(log: Path, die_at: int | None) -> Event:
    """Return what notes the events of this process at the end of a log, and kills it at the event of this number."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    count = 0

    def event(*what: object) -> None:
        nonlocal count
        os.write(descriptor, (" ".join(map(str, what)) + "\n").encode())
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return event


def note_changes(names: tuple[str, ...], event: Event, *words: str) -> None:
    """Note every call of these methods of local storages, before and after, behind ``words``."""
    for name in names:
        setattr(LocalStorage, name, _noting(getattr(LocalStorage, name), event, words))


def _noting(real: Any, event: Event, words: tuple[str, ...]) -> Any:
    def change(self: LocalStorage, path: str, *args: Any) -> Any:
        event(*words, f"before-{real.__name__}", path)
        result = real(self, path, *args)
        event(*words, f"after-{real.__name__}", path)
        return result

    return change
