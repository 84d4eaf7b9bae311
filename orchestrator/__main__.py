"""The command ``unlearn-sweep``, also as ``python -m orchestrator``: what happens before anything is imported."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command. Ctrl-C during its imports ends it as Ctrl-C does later, without a traceback."""
    try:
        from orchestrator.cli import main as run  # noqa: PLC0415  # importing it takes a second, in which Ctrl-C may come

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT


if __name__ == "__main__":
    if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parent.parent:
        del sys.path[0]  # the current folder: a datasets.py in it, for example, would hide the library
    main()
