"""The plot library's JavaScript for a page, packed once for each version of the packer and kept in the user's cache.

Packing takes more than a second of CPU time and blocks all other threads of its process. If the cache lacks the script,
another process packs it while a run goes on.
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
        with suppress(StorageError, RuntimeError):  # there is no folder for the cache
            _cache().publish(_name(), kept.encode())
    return kept


def _kept() -> str | None:
    with suppress(StorageError, RuntimeError, ValueError):
        content = _cache().read(_name())
        return None if content is None else _checked(content.decode())
    return None


def _cache() -> LocalStorage:
    """Return the user's cache.

    Raises:
        RuntimeError: there is no home folder.
    """
    return LocalStorage(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "unlearn-sweep")


def _name() -> str:
    return f"vega-{version('vl-convert-python')}.js"


@contextmanager
def packed_ahead() -> Iterator[Callable[[], str]]:
    """Pack the script in a process of low priority while the block runs, unless the cache has it.

    Yields:
        A function that waits for the script and returns it. If packing failed, it packs the script itself.
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
    """Return a script if it may be embedded in a page.

    Raises:
        ValueError: the script would end its HTML element.
    """
    if "</script" in script or "<!--" in script:
        raise ValueError("the packed script cannot be embedded in a page")
    return script


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends this process
    os.nice(19)
    sys.stdout.buffer.write(javascript().encode())
