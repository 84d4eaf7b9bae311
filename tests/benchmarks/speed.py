"""What a sweep takes beside its arithmetic: by hand, by the engine alone, by the command, and by what people do else.

    python -m tests.benchmarks.speed [SPEC] [--set KEY=VALUE ...] [--rounds 3] [--rows by-hand run-1 ...] [--json FILE]

Base and reference models are trained once, before anything is timed. Every row is measured in every round, one after
the other, each in processes of its own; shown are medians, and the smallest and largest. The loop by hand is an oracle
too: its NLLs are compared with those of the ledger. Run it on a quiet machine.
"""

import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from orchestrator.resources import describe_machine
from tests.integration.helpers import COMMAND, TINY

PART = [sys.executable, "-m", "tests.benchmarks.speed_parts"]
DIFFERENCES: list[float] = []
"""The largest difference between an NLL by hand and the ledger's, of each round."""
PACKAGES = ("torch", "transformers", "accelerate", "ray", "optuna", "pyarrow")


@dataclass(frozen=True)
class Sweep:
    """The sweep that is timed, whose models are in the storage."""

    spec: str
    overrides: tuple[str, ...]
    storage: Path
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    def command(self, workers: int, name: str) -> list[str]:
        """Return the command that runs it as a sweep of its own name."""
        sets = [part for override in self.overrides for part in ("--set", override)]
        given = ["--name", name, "--storage", str(self.storage), "--workers", str(workers)]
        return [*COMMAND, "run", self.spec, *given, *sets]

    def run(self, workers: int) -> tuple[float, Path]:
        """Run it anew; return the seconds of the whole command, and the sweep's folder."""
        name = f"speed-{next(self.numbers)}"
        return timed(self.command(workers, name)), self.storage / name

    @property
    def first(self) -> Path:
        """The folder of the first run, which trained the models."""
        return self.storage / "speed-0"


def timed(*commands: list[str]) -> float:
    """Run commands at once and return the seconds until the last has ended."""
    began = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"{shlex.join(commands[0])} ended with {codes}")
    return time.perf_counter() - began


def part(what: str, sweep: Sweep, *arguments: str) -> dict[str, Any]:
    """Run a part of the work in a process of its own, and return what it measured."""
    done = subprocess.run([*PART, what, str(sweep.first), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def by_hand(sweep: Sweep, times: int) -> dict[str, float]:
    """Time the loop by hand, in so many processes at once, each of all trials."""
    commands = [[*PART, "by-hand", str(sweep.first)] for _ in range(times)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    found = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    DIFFERENCES.append(max(one["difference"] for one in found))
    return {"all trials": statistics.mean(one["seconds"] for one in found)}


def run(sweep: Sweep, workers: int) -> dict[str, float]:
    """Time the command: whole, until its first trial starts, and from there to its last trial's end."""
    began = time.time()
    whole, folder = sweep.run(workers)
    query = f"select min(epoch(started_at)), max(epoch(ended_at)) from '{folder}/trials/*.parquet'"
    ((first, last),) = duckdb.sql(query).fetchall()
    return {"all trials": last - first, "whole command": whole, "until the first trial": first - began}


def first_evaluation(sweep: Sweep) -> dict[str, float]:
    """Time the sweep of the integration tests from the command's start to the first evaluation that is published."""
    name = f"tiny-{next(sweep.numbers)}"
    command = [*COMMAND, "run", str(TINY), "--name", name, "--storage", str(sweep.storage), "--workers", "2"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        evaluations = sweep.storage / name / "evaluations"
        while not any(evaluations.glob("*.parquet")) and process.poll() is None:
            time.sleep(0.01)
        return {"until the first evaluation": time.perf_counter() - began}


def a_process_each(sweep: Sweep, settings: int) -> dict[str, float]:
    """Time a process for one evaluated step of one trial, as a loop of a shell runs them; scaled to all of them."""
    seconds = timed([*PART, "setting", str(sweep.first)])
    return {"one setting": seconds, "all trials": seconds * settings}


def plain_tune(sweep: Sweep, settings: int) -> dict[str, float]:
    """Time Ray Tune with Optuna's searcher over a function that ascends and evaluates once; scaled to all settings."""
    found = part("plain-tune", sweep)
    return {"one setting": found["seconds"], "all trials": found["seconds"] * settings}


def rows_of(sweep: Sweep, settings: int) -> dict[str, Callable[[], dict[str, float]]]:
    """Name what is timed."""
    return {
        "by-hand": partial(by_hand, sweep, 1),
        "by-hand-twice": partial(by_hand, sweep, 2),
        "engine": lambda: {"all trials": part("engine", sweep)["seconds"]},
        "run-1": partial(run, sweep, 1),
        "run-2": partial(run, sweep, 2),
        "first-evaluation": partial(first_evaluation, sweep),
        "a-process-each": partial(a_process_each, sweep, settings),
        "plain-tune": partial(plain_tune, sweep, settings),
    }


def main() -> None:
    """Print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", nargs="?", default="demo")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", help="rows by name; default: all")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep(asked.spec, tuple(asked.overrides), Path(folder))
        sweep.run(workers=2)
        rows = rows_of(sweep, part("prepare", sweep)["settings"])
        chosen = asked.rows or list(rows)
        if unknown := set(chosen) - set(rows):
            raise SystemExit(f"--rows: {', '.join(sorted(unknown))} is unknown; known are {', '.join(rows)}")
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(asked.rounds):
            for name in chosen:
                for what, seconds in rows[name]().items():
                    found.setdefault((name, what), []).append(seconds)
    limit = statistics.median(found.get(("by-hand", "all trials"), [math.nan]))
    table = Table(
        "row", "what", "seconds, median (range)", "by the limit", title=f"{asked.spec}, {asked.rounds} rounds"
    )
    for (name, what), seconds in found.items():
        own = limit / 2 if name == "run-2" else limit
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
        ratio = statistics.median(seconds) / own
        table.add_row(name, what, spread, f"{ratio:.2f}" if what in ("all trials", "whole command") else "")
    console = Console()
    console.print(table)
    if DIFFERENCES:
        console.print(f"largest difference of an NLL by hand from the ledger's, in nats/token: {max(DIFFERENCES):.2g}")
    if asked.json is not None:
        asked.json.write_text(
            json.dumps(
                {
                    "command": shlex.join(sys.argv),
                    "machine": describe_machine(),
                    "packages": {name: version(name) for name in PACKAGES},
                    "rounds": asked.rounds,
                    "seconds": [{"row": name, "what": what, "all": all_} for (name, what), all_ in found.items()],
                    "differences": DIFFERENCES,
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
