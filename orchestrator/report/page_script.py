"""The plot library's JavaScript for a page: packed once for a version of the packer, and kept in this user's cache.

Packing takes more than a second of processor, and lets no other thread of its process run meanwhile: where it is not
kept yet, another process does it while a run goes on.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from orchestrator.errors import StorageError
from orchestrator.storage import LocalStorage
from trainables.deferred import Deferred

_pack: Callable[[str], str] = Deferred("vl_convert", "javascript_bundle")
_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def javascript() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script for a page."""
    kept = _kept()
    if kept is None:
        kept = _checked(_pack(_SNIPPET))
        with suppress(StorageError, RuntimeError):  # no folder to keep it in
            _cache().publish(_name(), kept.encode())
    return kept


def _kept() -> str | None:
    with suppress(StorageError, RuntimeError, ValueError):
        content = _cache().read(_name())
        return None if content is None else _checked(content.decode())
    return None


def _cache() -> LocalStorage:
    """Return this user's cache. RuntimeError: there is no home folder."""
    return LocalStorage(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "unlearn-sweep")


def _name() -> str:
    return f"vega-{version('vl-convert-python')}.js"


@contextmanager
def packed_ahead() -> Iterator[Callable[[], str]]:
    """Have the script packed by a process of low priority while the block runs, unless it is kept already.

    Yields:
        A function that returns the script, as soon as it is packed. Where that failed, it packs it itself.
    """
    kept = _kept()
    if kept is not None:
        yield lambda: kept
        return
    command = [sys.executable, "-P", "-m", __name__]  # -P: not from the current folder
    packer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def script() -> str:
        content, _ = packer.communicate()
        return javascript() if packer.returncode else _checked(content.decode())

    with packer:
        try:
            yield script
        finally:
            packer.kill()


def _checked(script: str) -> str:
    """Return a script that stands in a page.

    Raises:
        ValueError: it would end the element that it stands in.
    """
    if "</script" in script or "<!--" in script:
        raise ValueError("the packed script cannot stand in a page")
    return script


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends this
    os.nice(19)
    sys.stdout.buffer.write(javascript().encode())
