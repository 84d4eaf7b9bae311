"""Sweeps that can be killed: a process that is warm, and forks a driver for every sweep it is asked for.

A driver runs the real loop, search, ledger, lease, ascent and checkpoints by the inline executor, and kills itself by
SIGKILL at the event it is told: an ascent step, or just before or after a change of the storage. What it did is in a
log that survives it.

    python -m tests.faults.sweeper    # reads requests, writes answers, a line of JSON each
"""

import gc
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch

from orchestrator.driver import Interrupt, lease
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter, repair_ledger
from orchestrator.run.executors.inline import InlineExecutor
from orchestrator.run.failures import Failures
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.search import SweepSearch
from orchestrator.spec import SweepSpec, dump_spec
from orchestrator.spec.loading import validate_spec
from orchestrator.storage import LocalStorage
from orchestrator.yaml_text import parse_yaml
from tests.faults.dying import events_of, note_changes
from tests.limits import HANG_S
from tests.orchestrator.helpers import SilentEvents
from tests.support import tiny_workload
from trainables.trial import Engine, TrialRun
from trainables.trial import engine as engine_module
from trainables.trial.ascent import Ascent

CHECKPOINT_STEPS = 3
CHANGES = ("publish", "create", "remove", "move")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A sweep to run to its end, or to the event at which its driver dies."""

    folder: str
    spec: str
    at_once: int = 1
    die_at: int | None = None


@dataclass
class Sweeper:
    """The warm process, from outside."""

    process: subprocess.Popen[str]

    @staticmethod
    def start() -> "Sweeper":
        command = [sys.executable, "-m", "tests.faults.sweeper"]
        return Sweeper(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def run(self, folder: Path, spec: SweepSpec, *, at_once: int = 1, die_at: int | None = None) -> bool:
        """Run a driver; False where it died as it was told. It went wrong otherwise: an AssertionError."""
        request = Request(folder=str(folder), spec=dump_spec(spec), at_once=at_once, die_at=die_at)
        self.process.stdin.write(json.dumps(asdict(request)) + "\n")
        self.process.stdin.flush()
        code = json.loads(self.process.stdout.readline())["code"]
        assert code in (0, -signal.SIGKILL), f"the driver ended with {code}"
        return code == 0

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=HANG_S)


def events(folder: Path) -> Counter[tuple[str, ...]]:
    """Count what the drivers of a sweep did: ("step", trial, n), ("evaluate", trial, n), ("change", what)."""
    return Counter(tuple(line.split()) for line in (folder / "log").read_text().splitlines())


def main() -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    workload = tiny_workload(every_s=1e9, every_steps=CHECKPOINT_STEPS, dropout=0.1)
    gc.freeze()  # as in tests/conftest.py: every trial begins with a collection
    for line in sys.stdin:
        request = Request(**json.loads(line))
        child = os.fork()
        if child == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the answers are the parent's
            code = 1
            try:
                _drive(request, workload)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)  # noqa: T201


def _drive(request: Request, workload: Any) -> None:
    folder, spec = Path(request.folder), validate_spec(parse_yaml(request.spec, "request"), "request")
    folder.mkdir(exist_ok=True)
    _watch(folder / "log", request.die_at)
    ledger = Ledger(storage=LocalStorage(folder / spec.name), sweep=spec.name)
    interrupt = Interrupt()
    with lease(ledger.storage, spec.name, interrupt) as held:
        ledger = replace(ledger, driver=held.number)
        ledger.storage.remove_leftovers()
        repair_ledger(ledger)
        ledger.manifest.create(request.spec, {}, {})
        search = SweepSearch(spec, ledger, workload_hashes=["workload"], concurrent_trials=request.at_once)
        loop = TrialLoop(search, Failures(ledger), SilentEvents(), interrupt, held, resources=spec.resources)
        InlineExecutor(interrupt).run_trials(
            loop,
            workloads=[workload],
            sink=TrialWriter(ledger),
            name=spec.name,
            resources=spec.resources,
            concurrent=request.at_once,
        )
        interrupt.raise_if_set()
        assert search.is_exhausted()
    DriverWriter(ledger).merge()


def _watch(log: Path, die_at: int | None) -> None:
    """Note every event in the log, and die at one of them."""
    event = events_of(log, die_at)
    note_changes(CHANGES, event, "change")

    real_run, real_advance, real_evaluate = TrialRun.__init__, Ascent.advance, engine_module.evaluate

    def init(self: TrialRun, engine: Engine, trial: Any, *args: Any, **kwargs: Any) -> None:
        engine.trial_id = trial.trial_id  # type: ignore[attr-defined]
        engine.model.trial_id = trial.trial_id
        real_run(self, engine, trial, *args, **kwargs)

    def advance(self: Ascent, to_step: int) -> None:
        event("step", self._model.trial_id, to_step)
        real_advance(self, to_step)

    def evaluate(model: Any, *args: Any, **kwargs: Any) -> Any:
        event("evaluate", model.trial_id, kwargs["step"])
        return real_evaluate(model, *args, **kwargs)

    TrialRun.__init__ = init  # type: ignore[method-assign]
    Ascent.advance = advance  # type: ignore[method-assign]
    engine_module.evaluate = evaluate


if __name__ == "__main__":
    main()
