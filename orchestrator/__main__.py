"""The command ``unlearn-sweep``, also as ``python -m orchestrator``: what happens before anything is imported."""

import atexit
import contextlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace


def main() -> None:
    """Run the command. Ctrl-C during its imports ends it as Ctrl-C does later, without a traceback."""
    ended = SimpleNamespace(code=1)
    atexit.register(_leave, ended)  # first, so it is called last
    try:
        from orchestrator.cli import main as run  # noqa: PLC0415  # importing it takes a second, in which Ctrl-C may come

        run()
        ended.code = 0
    except SystemExit as error:
        ended.code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    except KeyboardInterrupt:
        ended.code = 130  # 128 + SIGINT
        sys.exit(ended.code)


def _leave(ended: SimpleNamespace) -> None:
    """End the process once all else is done. Python would take apart what Ray and the report have loaded: 0.8 s."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
    os._exit(ended.code)


if __name__ == "__main__":
    if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parent.parent:
        del sys.path[0]  # the current folder: a datasets.py in it, for example, would hide the library
    main()
