"""The sweep: spec, identity, ledger, search, runner, query, frontier, command line.

For use from Python, ``open_results`` and ``Results``. They are imported when they are first asked for, so importing the
package costs nothing.
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
