"""The plot library's JavaScript for a page, and a way to have it packed by another process beforehand.

Packing takes more than a second of processor, and lets no other thread of its process run meanwhile.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import vl_convert


def javascript() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script for a page."""
    return _checked(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


@contextmanager
def packed_ahead() -> Iterator[Callable[[], str]]:
    """Pack the script in a process of low priority while the block runs.

    Yields:
        A function that returns the script, as soon as it is packed. Where that failed, it packs it itself.
    """
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
    assert "</script" not in script
    assert "<!--" not in script
    return script


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends this
    os.nice(10)
    sys.stdout.buffer.write(javascript().encode())
