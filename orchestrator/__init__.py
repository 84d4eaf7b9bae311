"""The sweep, in rooms: spec, search, run, ledger, query, frontier, report, command line and others.

``open_results`` and ``Results`` are for use from Python. They are imported on first access, so importing the package
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.query import Results, open_results

__all__ = ["Results", "open_results"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("orchestrator.query.results"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
