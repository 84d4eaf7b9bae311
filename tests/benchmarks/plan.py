"""What ``plan`` says a sweep takes, beside what it takes: the factors of ``orchestrator.overheads`` are set by this.

    python -m tests.benchmarks.plan [SPEC ...]

Prints, for the sweep of the integration tests or the specs given, each part in seconds and in the unit of
``orchestrator.overheads``, as it was estimated and as it was measured. Run it on a quiet machine.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

from orchestrator.overheads import START_UNITS
from tests.integration.helpers import COMMAND, TINY


def estimated(spec: str) -> dict[str, float]:
    """Give the parts that ``plan`` tells, in seconds."""
    said = subprocess.run([*COMMAND, "plan", spec, "--json"], check=True, capture_output=True, text=True)
    plan = json.loads(said.stdout)
    return {
        "start": plan["estimated_start_s"],
        "preparation": plan["estimated_preparation_s"],
        "sweep": plan["estimated_sweep_s"],
        "report": plan["estimated_report_s"],
        "total": plan["estimated_total_s"],
    }


def measured(spec: str) -> dict[str, float]:
    """Run the sweep, and give the parts that its files tell, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        subprocess.run([*COMMAND, "run", spec, "--name", "timed", "--storage", folder], check=True, capture_output=True)
        ended = time.time()
        baselines = (Path(folder) / "timed/references/baselines.parquet").stat().st_mtime
        (last,) = duckdb.sql(f"select epoch(max(ended_at)) from '{folder}/timed/trials/*.parquet'").fetchall()[0]
    return {
        "start and preparation": baselines - began,
        "sweep": last - baselines,
        "report": ended - last,
        "total": ended - began,
    }


def main() -> None:
    """Print the table."""
    table = Table("spec", "part", "estimated", "measured", "measured / estimated", "measured, units")
    for spec in sys.argv[1:] or [str(TINY)]:
        told = estimated(spec)
        unit_s = told["start"] / START_UNITS
        told["start and preparation"] = told["start"] + told["preparation"]
        for part, seconds in measured(spec).items():
            ratio = f"{seconds / told[part]:.2f}"
            table.add_row(spec, part, f"{told[part]:.1f}", f"{seconds:.1f}", ratio, f"{seconds / unit_s:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
