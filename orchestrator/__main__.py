"""The command ``unlearn-sweep``, also as ``python -m orchestrator``: what is done before anything is imported."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command. Ctrl-C while its modules are imported ends it as Ctrl-C does later: without a traceback."""
    try:
        from orchestrator.cli import main as run  # noqa: PLC0415  # it takes a second, and belongs inside

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT


if __name__ == "__main__":
    if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parent.parent:
        del sys.path[0]  # the current folder, whose datasets.py, for example, would stand before the library
    main()
