"""``python -m orchestrator`` is the command ``unlearn-sweep``."""

import sys
from pathlib import Path

if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parent.parent:
    del sys.path[0]  # the current folder, whose datasets.py, for example, would stand before the library

from orchestrator.cli import main

main()
