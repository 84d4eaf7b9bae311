"""The report of a sweep: its frontiers as one self-contained HTML page."""

import io

from rich.console import Console

from orchestrator.frontier import frontiers
from orchestrator.frontier_tables import frontier_report
from orchestrator.ledger import Ledger

PAGE = "report/index.html"
_WIDTH = 160


def render(ledger: Ledger) -> str:
    """Render the page: the tables of ``frontier``, as they stand on a terminal. Text is escaped."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(f"sweep {ledger.sweep}\n", markup=False)
    console.print(frontier_report(frontiers(ledger)))
    return console.export_html(inline_styles=True)


def write_report(ledger: Ledger) -> str:
    """Publish the page in the sweep's folder and give its place."""
    ledger.storage.publish(PAGE, render(ledger).encode())
    return f"{ledger.storage.uri}/{PAGE}"
