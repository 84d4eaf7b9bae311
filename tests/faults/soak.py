"""Kill whole sweeps, Ray and all, at random moments, and count what it cost; beside plain Ray Tune on the same kills.

    make soak, or: python -m tests.faults.soak --kills 30

A round is a sweep: it is killed (SIGKILL of the driver) and resumed, again and again, until it ends; then the next
begins, until there were enough kills. Moments are drawn from the seed, uniform over the seconds that an unbroken sweep
takes, start-up included, so the same moments meet both. Nothing is judged: it prints a table.
"""

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import optuna
import psutil
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console
from rich.table import Table

from orchestrator.ledger import Ledger
from orchestrator.search import SweepSearch
from orchestrator.spec import load_spec
from orchestrator.storage import LocalStorage
from tests.integration.helpers import COMMAND, TINY, rows

HUNG_AFTER_S = 180.0
"""A run that neither ends nor notes anything for this long hangs."""
NOTING = Path(__file__).with_name("noting")
PLAIN_TRIALS, PLAIN_STEPS = 8, 30


@dataclass
class Figures:
    """What the kills cost, over all rounds."""

    rounds: int = 0
    kills: int = 0
    lost: int = 0
    repeated_evaluations: int = 0
    repeated_steps: int = 0
    duplicates: int = 0
    hung: int = 0
    errors: int = 0
    zombies: int = 0
    trials_too_many: int = 0
    unequal: int = 0
    longest_s: float = 0.0
    moments: list[float] = field(default_factory=list)


class Subject(ABC):
    """A way to run a sweep that can be killed and resumed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def start(self) -> subprocess.Popen[Any]:
        """Begin the sweep, or go on with it."""

    @abstractmethod
    def committed(self) -> Counter[tuple[Any, ...]]:
        """Count the evaluations that a reader sees now, each as (trial, step)."""

    @abstractmethod
    def zombies(self) -> int:
        """Count the trials that Optuna takes to be running, though nothing runs."""

    @abstractmethod
    def sequence(self) -> list[Any]:
        """List what was proposed, in order, with what came of it."""

    def notes(self) -> Counter[str]:
        """Count what the workers did."""
        path = self.folder / "notes"
        return Counter(path.read_text().splitlines() if path.exists() else [])


class Ours(Subject):
    """``unlearn-sweep run --resume`` of the tiny sweep, two workers for two strata."""

    def start(self) -> subprocess.Popen[Any]:
        command = [*COMMAND, "run", str(TINY), "--storage", str(self.folder), "--resume", "--workers", "2"]
        command += ["--set", "checkpoint.every_steps=3", "--set", "checkpoint.every_s=1e6"]
        path = os.pathsep.join([str(NOTING), os.environ.get("PYTHONPATH", str(Path.cwd()))])
        return _start(command, PYTHONPATH=path, NOTES=str(self.folder / "notes"))

    def committed(self) -> Counter[tuple[Any, ...]]:
        sweep = self.folder / "tiny"
        if not list(sweep.glob("evaluations/*.parquet")):
            return Counter()
        found = duckdb.sql(f"select trial_id, step from read_parquet('{sweep}/evaluations/*.parquet')").fetchall()
        return Counter(found)

    def zombies(self) -> int:
        spec = load_spec(TINY)
        ledger = Ledger(storage=LocalStorage(self.folder / "tiny"), sweep="tiny")
        search = SweepSearch(
            spec, ledger, workload_hashes=[ledger.manifest.read()["workload_hash"]], concurrent_trials=2
        )
        studies = [stratum.study for stratum in search.studies.values()]
        return sum(not t.state.is_finished() for study in studies for t in study.get_trials(deepcopy=False))

    def sequence(self) -> list[Any]:
        sweep = self.folder / "tiny"
        return [rows(sweep, table) for table in ("trials", "evaluations", "examples")]


class Plain(Subject):
    """Ray Tune with OptunaSearch and ``Tuner.restore``, one trial at a time."""

    def start(self) -> subprocess.Popen[Any]:
        command = [sys.executable, "-m", "tests.faults.plain_tune", str(self.folder), PLAIN_TRIALS, PLAIN_STEPS]
        return _start(list(map(str, command)))

    def committed(self) -> Counter[tuple[Any, ...]]:
        found: Counter[tuple[Any, ...]] = Counter()
        for path in self.folder.glob("sweep/*/result.json"):
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # torn
                found[path.parent.name, row["walked"]] += 1
        return found

    def zombies(self) -> int:
        search = OptunaSearch()
        states = sorted(self.folder.glob("sweep/searcher-state*.pkl"))
        if not states:
            return 0
        search.restore(str(states[-1]))
        return sum(trial.state is TrialState.RUNNING for trial in search._ot_study.trials)

    def sequence(self) -> list[Any]:
        outcome = json.loads((self.folder / "outcome.json").read_text())
        return [[trial["rate"], trial["walked"]] for trial in outcome]


def _start(command: list[str], **environment: str) -> subprocess.Popen[Any]:
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        command, env={**kept, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def finish(subject: Subject, process: subprocess.Popen[Any], until_s: float) -> str:
    """Wait until the run ends (``ended`` or ``failed``), the moment comes (``alive``), or it hangs (``hung``)."""
    started = heard = time.monotonic()
    noted = subject.notes().total()
    while process.poll() is None:
        now = time.monotonic()
        if now - started >= until_s:
            return "alive"
        if (count := subject.notes().total()) != noted:
            noted, heard = count, now
        if now - heard > HUNG_AFTER_S:
            return "hung"
        time.sleep(0.05)  # a poll
    return "ended" if process.returncode == 0 else "failed"


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill the driver, and wait until what it started has gone too."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=3)
    for child in alive:
        child.kill()


def soak(make: Any, folder: Path, *, kills: int, seed: int, say: Any) -> Figures:
    """Run rounds until there were enough kills."""
    figures = Figures()
    whole = _unbroken(make(folder / "first"))
    started = time.monotonic()
    whole = _unbroken(_with_models(make(folder / "unbroken"), whole))
    lasts_s = time.monotonic() - started
    say(f"{type(whole).__name__}: an unbroken sweep takes {lasts_s:.0f} s")
    draw = random.Random(seed)
    while figures.kills < kills:
        _round(_with_models(make(folder / f"round-{figures.rounds}"), whole), whole, figures, lasts_s, draw, kills)
        figures.rounds += 1
        say(f"{type(whole).__name__}: {figures}")
    return figures


def _unbroken(subject: Subject) -> Subject:
    assert finish(subject, process := subject.start(), math.inf) == "ended", process.returncode
    return subject


def _with_models(subject: Subject, other: Subject) -> Subject:
    """Give a sweep the models of another, so that kills meet trials."""
    if (other.folder / ".models").exists():
        shutil.copytree(other.folder / ".models", subject.folder / ".models")
    return subject


def _round(subject: Subject, whole: Subject, figures: Figures, lasts_s: float, draw: random.Random, kills: int) -> None:
    committed: Counter[tuple[Any, ...]] = Counter()
    while True:
        started = time.monotonic()
        process = subject.start()
        moment = draw.uniform(0, lasts_s) if figures.kills < kills else math.inf
        how = finish(subject, process, moment)
        figures.longest_s = max(figures.longest_s, time.monotonic() - started)
        kill(process)
        if how == "alive":
            figures.kills += 1
            figures.moments.append(round(moment, 1))
        figures.hung += how == "hung"
        figures.errors += how == "failed"
        now = subject.committed()
        figures.lost += len(committed.keys() - now.keys())
        committed = now
        if how in ("ended", "failed", "hung"):
            break
    notes = subject.notes()
    for what, name in (("evaluate", "repeated_evaluations"), ("step", "repeated_steps")):
        own = {note: count for note, count in notes.items() if note.startswith(what)}
        setattr(figures, name, getattr(figures, name) + sum(own.values()) - len(own))
    figures.duplicates += committed.total() - len(committed)
    figures.zombies += subject.zombies()
    expected = len({trial for trial, _ in whole.committed()})
    figures.trials_too_many += max(0, len({trial for trial, _ in committed}) - expected)
    figures.unequal += how != "ended" or subject.sequence() != whole.sequence()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("ours", "plain"))
    asked = parser.parse_args()
    say = Console(highlight=False, soft_wrap=True).print
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table("", *(name for name in ("ours", "plain") if asked.only in (None, name)))
    with tempfile.TemporaryDirectory() as folder:
        columns = []
        for name, make in (("ours", Ours), ("plain", Plain)):
            if asked.only in (None, name):
                columns.append(soak(make, Path(folder) / name, kills=asked.kills, seed=asked.seed, say=say))
    for label, name in (
        ("kills", "kills"),
        ("sweeps", "rounds"),
        ("committed evaluations lost", "lost"),
        ("evaluations run again that a kill had kept from being committed", "repeated_evaluations"),
        ("ascent steps repeated", "repeated_steps"),
        ("rows seen twice", "duplicates"),
        ("trials too many", "trials_too_many"),
        ("hung resumes", "hung"),
        ("failed resumes", "errors"),
        ("zombie trials in Optuna", "zombies"),
        ("sweeps that ended otherwise than an unbroken one", "unequal"),
    ):
        table.add_row(label, *(str(getattr(figures, name)) for figures in columns))
    say(table)


if __name__ == "__main__":
    main()
