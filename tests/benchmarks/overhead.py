"""What a trial costs beside its work, by number of trials: a sweep whose trials invent their numbers at once.

    python -m tests.benchmarks.overhead [--trials 10 100 1000 10000] [--executor inline ray] [--steps 4]

Each sweep is a process of its own: the search proposes, the ledger is written, the driver hears. Shown are milliseconds
of a trial by the wall's clock and by the driver's processor, and what the driver's memory grows by.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
from rich.console import Console
from rich.table import Table

from orchestrator.driver import Interrupt, lease
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.run.executors import ray_executor
from orchestrator.run.executors.inline import InlineExecutor
from orchestrator.run.failures import Failures
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.search import SweepSearch
from orchestrator.spec import SweepSpec, dump_spec
from orchestrator.storage import LocalStorage
from tests.benchmarks.long_search import STRATA, WORKLOAD, long_spec
from tests.orchestrator.helpers import InventingWorker, SilentEvents
from trainables.tune import TRIAL, AscentTrainable

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
"""For Ray's workers, which have to find this module."""


class NoWork(AscentTrainable):
    """A narrow trial that invents its numbers."""

    def setup(self, config: dict[str, Any], *, workloads: Sequence[Any], sink: TrialWriter) -> None:
        self._worker: Any = InventingWorker(None, sink)
        self._worker.take(config[TRIAL])


def spec_of(trials: int, steps: int) -> SweepSpec:
    """Return a random search of so many trials in all, so that proposing costs little, each evaluated at some steps."""
    spec = long_spec(trials=max(trials, STRATA), steps=max(steps, 2))  # whose rung needs two
    return spec.model_copy(
        update={
            "steps": spec.steps[:steps],
            "search": spec.search.model_copy(update={"sampler": "random"}),
            "stop": spec.stop.model_copy(update={"halving": None}),
        }
    )


def measure(executor: str, trials: int, steps: int) -> dict[str, float]:
    """Run a sweep in this process and return what a trial has cost."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec, interrupt, me = spec_of(trials, steps), Interrupt(), psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(storage=LocalStorage(Path(folder) / spec.name), sweep=spec.name)
        ledger.manifest.create(dump_spec(spec), {}, {})
        with lease(ledger.storage, spec.name, interrupt) as held:
            ledger = replace(ledger, driver=held.number)
            search = SweepSearch(spec, ledger, workload_hashes=[WORKLOAD], concurrent_trials=1)
            loop = TrialLoop(search, Failures(ledger), SilentEvents(), interrupt, held, resources=spec.resources)
            made: Any
            if executor == "ray":
                made = ray_executor.RayExecutor(interrupt)
                ray_executor.AscentTrainable = NoWork
            else:
                made = InlineExecutor(interrupt, make_worker=InventingWorker)  # type: ignore[arg-type]
            with made.session(spec.resources, workers=1, last_words="", doing=lambda _: None):
                before, wall, processor = me.memory_info().rss, time.perf_counter(), time.process_time()
                made.run_trials(
                    loop,
                    workloads=[None],
                    sink=TrialWriter(ledger),
                    name=spec.name,
                    resources=spec.resources,
                    concurrent=1,
                )
                count = len(search.statuses)
                found = {
                    "wall_ms": 1e3 * (time.perf_counter() - wall) / count,
                    "driver_ms": 1e3 * (time.process_time() - processor) / count,
                    "grown_mib": (me.memory_info().rss - before) / 2**20,
                    "trials": count,
                }
        interrupt.raise_if_set()
        began = time.perf_counter()
        DriverWriter(ledger).merge()
        return {**found, "merge_s": time.perf_counter() - began}


def main() -> None:
    """Print a table; with ``--one``, measure one sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000, 10000])
    parser.add_argument("--executor", nargs="+", choices=["inline", "ray"], default=["inline", "ray"])
    parser.add_argument("--steps", type=int, default=4, help="of each trial that are evaluated")
    parser.add_argument("--one", action="store_true", help="measure one sweep in this process, and print JSON")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.executor[0], asked.trials[0], asked.steps)))  # noqa: T201
        return
    table = Table("executor", "trials", "ms a trial", "of the driver's processor", "driver grows by, MiB", "merge, s")
    for executor in asked.executor:
        for trials in asked.trials:
            command = [sys.executable, "-m", "tests.benchmarks.overhead", "--one", "--executor", executor]
            done = subprocess.run(
                [*command, "--trials", str(trials), "--steps", str(asked.steps)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env=ENVIRONMENT,
            )
            found = json.loads(done.stdout.splitlines()[-1])
            table.add_row(
                executor,
                str(found["trials"]),
                *(f"{found[name]:.1f}" for name in ("wall_ms", "driver_ms", "grown_mib", "merge_s")),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
