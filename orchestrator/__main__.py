"""``python -m orchestrator`` is the command ``unlearn-sweep``."""

from orchestrator.cli import main

main()
