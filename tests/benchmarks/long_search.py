"""What a long search costs: to rebuild it from its ledger, to read how it stands, and to decide what runs next.

python -m tests.benchmarks.long_search --trials 2000 --steps 16, or with --profile REPLAY to see where time goes.
"""

import argparse
import cProfile
import platform
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import optuna
from rich.console import Console

from orchestrator.frontier import frontiers
from orchestrator.identity import trial_key
from orchestrator.ledger import BASELINES, DriverWriter, Ledger, TrialWriter
from orchestrator.monitor import sweep_status
from orchestrator.report.importances import importances
from orchestrator.search import Halving, SweepSearch, export_journal
from orchestrator.spec import SweepSpec, dump_spec, trial_config
from orchestrator.spec.loading import validate_spec
from orchestrator.storage import LocalStorage
from search_spaces import all_dimensions, point_at, settings
from tests.benchmarks.ledger import evaluations
from trainables.records import Outcome, Status, Trial

WORKLOAD = "workload"
SPACE = {
    "batch_size": 32,
    "weight_decay": {"low": 0.0, "high": 0.1},
    "optimizer": {
        "choices": {
            "adamw": {"learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}},
            "sgd": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "momentum": [0.0, 0.9]},
        }
    },
}
STRATA = 4


def long_spec(*, trials: int, steps: int) -> SweepSpec:
    """Return a TPE search of so many trials in all, in four strata with a study each: every evaluation is told."""
    data = {
        "name": "long",
        "model": {"architecture": {"model_type": "llama"}},
        "data": {
            "retain": 100,
            "heldout": 10,
            "forget_sets": {
                "a": {"distribution": "in", "size": 64, "population": 64},
                "b": {"distribution": "out", "canary": "personal_data", "size": 64, "population": 64},
            },
        },
        "preparation": {"epochs": 1, "learning_rate": 1e-3},
        "steps": list(range(1, steps + 1)),
        "seeds": [0, 1],
        "stop": {"halving": {"rungs": [steps // 2]}},
        "search": {
            "sampler": "tpe",
            "across": "each",
            "trials": trials // STRATA,
            "budget": {"max_steps_total": 10 * trials * steps},
            "space": SPACE,
        },
    }
    return validate_spec(data, "benchmark")


def fill(ledger: Ledger, spec: SweepSpec) -> None:
    """Write every trial of the search, with points and numbers drawn at random; seeds share their points."""
    ledger.manifest.create(dump_spec(spec), {}, {})
    random = np.random.default_rng(0)
    measured = evaluations(random, 1)[0]
    names = [name for name in BASELINES.names if isinstance(getattr(measured, name, None), float)]
    driver, worker = DriverWriter(ledger), TrialWriter(ledger)
    driver.publish_baselines(
        [
            {"model": model, "forget_set": name, "replicate": 0, **dict.fromkeys(names, 1.0 + index)}
            for index, model in enumerate(("base", "reference-0", "reference-1"))
            for name in spec.data.forget_sets
        ]
    )
    assert spec.search.trials is not None
    dimensions = [path for path, _ in all_dimensions(spec.space)]
    outcome = Outcome(status=Status.COMPLETED, last_step=spec.steps[-1], message=None, elapsed_s=1.0)
    for name, forget_set in spec.data.forget_sets.items():
        for number in range(spec.search.trials):
            point = point_at(spec.space, dict(zip(dimensions, random.random(len(dimensions)).tolist(), strict=True)))
            proposal = {"number": number, "point": point, "step_index": len(spec.steps) - 1, "notes": {}}
            for seed in spec.seeds:
                config = trial_config(settings(spec.space, point))
                trial = Trial(trial_id="", forget_set=name, seed=seed, config=config, steps=spec.steps, horizon=None)
                trial = Trial(**{**vars(trial), "trial_id": trial_key(trial, workload_hash=WORKLOAD)})
                driver.propose(trial, number=number, distribution=forget_set.distribution, proposal=proposal)
                worker.publish(trial.trial_id, evaluations(random, len(spec.steps)), [], outcome)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where the ledger is kept between calls")
    parser.add_argument("--profile", metavar="MEASURE", help="show where one measure's time goes")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    say = Console(highlight=False, soft_wrap=True).print
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        spec = long_spec(trials=asked.trials, steps=asked.steps)
        ledger = Ledger(storage=LocalStorage(folder), sweep="long")
        if ledger.manifest.spec_text() is None:
            fill(ledger, spec)
        say(f"{asked.trials} trials x {asked.steps} steps, TPE, unmerged; Python {platform.python_version()}")
        for label, measure in measures(folder, spec).items():
            if asked.profile in (None, label):
                wall, processor, profile = timed(measure, profiled=asked.profile is not None)
                say(f"{label}: {wall:.2f} s, of these processor {processor:.2f} s")
                if profile is not None:
                    pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def measures(folder: Path, spec: SweepSpec) -> dict[str, Callable[[], object]]:
    """Name what is timed; each reads the files anew, as a command does."""

    def ledger() -> Ledger:
        return Ledger(storage=LocalStorage(folder), sweep="long")

    def search() -> SweepSearch:
        return SweepSearch(spec, ledger(), workload_hashes=[WORKLOAD], concurrent_trials=4)

    rebuilt: list[SweepSearch] = []
    row = ledger().trials()[0]
    trial = SimpleNamespace(trial_id=row["trial_id"], forget_set=row["forget_set"], seed=row["seed"], replicate=0)
    return {
        "replay": lambda: rebuilt.append(search()),
        "journal": lambda: export_journal(ledger().storage, (rebuilt or [search()])[0].studies),
        "status": lambda: sweep_status(ledger()),
        "frontier": lambda: frontiers(ledger()),
        "importances": lambda: importances(ledger()),
        "a halving decision, the first": lambda: Halving(spec, ledger(), workload_hashes=[WORKLOAD]).rank(
            cast(Trial, trial), len(spec.steps) // 2
        ),
    }


def timed(work: Callable[[], object], *, profiled: bool) -> tuple[float, float, cProfile.Profile | None]:
    """Return seconds by the wall's clock and the processor's, and the profile if it is asked for."""
    profile = cProfile.Profile() if profiled else None
    start, start_processor = time.perf_counter(), time.process_time()
    if profile is None:
        work()
    else:
        profile.runcall(work)
    return time.perf_counter() - start, time.process_time() - start_processor, profile


if __name__ == "__main__":
    main()
