"""The parts of ``speed`` that run in processes of their own: ``python -m tests.benchmarks.speed_parts PART FOLDER``.

``prepare`` writes what the trials of a finished sweep share to a file, which the others read. Each prints a line of
JSON.
"""

import json
import pickle
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.by_hand import SETS, trajectory
from tests.support import MemorySink, run_to_end
from trainables.config import TrialConfig
from trainables.records import Trial
from trainables.trial import Engine, Workload

TUNED = 6
"""Settings that plain Ray Tune runs."""
WORK = "speed.pickle"


@dataclass(frozen=True)
class Work:
    """What is to be computed."""

    workload: Workload
    trials: list[Trial]
    nlls: Mapping[str, Mapping[int, Mapping[str, float]]]
    """What the sweep published, by trial, step and column."""

    @property
    def settings(self) -> int:
        """Number of evaluated steps, without those of the base model."""
        return sum(len(trial.steps) for trial in self.trials)


def prepare(folder: Path) -> dict[str, int]:
    """Read the trials of a finished sweep in their order, each with the steps that it was evaluated at."""
    from orchestrator.ledger import Ledger  # noqa: PLC0415  # the other parts do without
    from orchestrator.preparation import ModelCache, SweepInputs, build_workload  # noqa: PLC0415
    from orchestrator.spec import stored_spec  # noqa: PLC0415
    from orchestrator.storage import LocalStorage  # noqa: PLC0415

    ledger = Ledger(storage=LocalStorage(folder), sweep=folder.name)
    inputs = SweepInputs.of(stored_spec(ledger))
    cache = ModelCache(LocalStorage(folder.parent))
    workload, _ = build_workload(inputs.dated, inputs.datasets, inputs.tasks, cache, ledger)
    nlls: dict[str, dict[int, dict[str, float]]] = {}
    for row in ledger.table("evaluations").sort_by("step").to_pylist():
        if row["step"] > 0:
            nlls.setdefault(row["trial_id"], {})[row["step"]] = {column: row[column] for column in SETS.values()}
    trials = [
        Trial(
            trial_id=row["trial_id"],
            forget_set=row["forget_set"],
            seed=row["seed"],
            config=TrialConfig.model_validate_json(row["config"]),
            steps=tuple(nlls[row["trial_id"]]),
            horizon=None,
        )
        for row in sorted(ledger.trials(), key=lambda row: row["started_at"])
    ]
    work = Work(workload, trials, nlls)
    (folder / WORK).write_bytes(pickle.dumps(work))
    return {"settings": work.settings}


def read(folder: Path) -> Work:
    """Read what ``prepare`` has written."""
    work: Work = pickle.loads((folder / WORK).read_bytes())  # this program wrote it
    torch.set_num_threads(work.workload.threads)
    return work


def by_hand(folder: Path) -> dict[str, float]:
    """Run all trials by hand; compare with what was published."""
    work = read(folder)
    workload, model = work.workload, work.workload.base.build()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    worst, began = 0.0, time.perf_counter()
    for trial in work.trials:
        sets, published = workload.evaluation_sets[trial.forget_set], work.nlls[trial.trial_id]
        for found in trajectory(model, base, sets, trial, batch_size=workload.evaluation.batch_size):
            row = published[int(found["step"])]
            worst = max(worst, *(abs(found[name] - row[name]) for name in SETS.values() if name in found))
    return {"seconds": time.perf_counter() - began, "difference": worst}


def engine(folder: Path) -> dict[str, float]:
    """Run all trials by the engine alone, with rows in memory."""
    work = read(folder)
    resident, results = Engine(work.workload), MemorySink()
    began = time.perf_counter()
    for trial in work.trials:
        run_to_end(resident, trial, results)
    return {"seconds": time.perf_counter() - began}


def setting(folder: Path) -> dict[str, float]:
    """Ascend on one trial to the middle of its axis and evaluate it there."""
    work = read(folder)
    trial = work.trials[0]
    return {"heldout_nll": _once(work.workload, trial, trial.steps[len(trial.steps) // 2])}


def _once(workload: Workload, trial: Trial, step: int) -> float:
    model = workload.base.build()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sets, once = workload.evaluation_sets[trial.forget_set], replace(trial, steps=(step,))
    (found,) = trajectory(model, base, sets, once, batch_size=workload.evaluation.batch_size)
    return found["heldout_nll"]


def plain_tune(folder: Path) -> dict[str, float]:
    """Run some settings by Ray Tune with Optuna's searcher, as its tutorials do; return the seconds of one."""
    import ray  # noqa: PLC0415  # the other parts do without
    from ray import tune  # noqa: PLC0415
    from ray.tune.search import ConcurrencyLimiter  # noqa: PLC0415
    from ray.tune.search.optuna import OptunaSearch  # noqa: PLC0415

    work = read(folder)
    trial, workload = work.trials[0], work.workload

    def ascend(config: dict[str, Any], shared: Workload) -> None:
        torch.set_num_threads(shared.threads)
        chosen = trial.config.model_copy(update={"learning_rate": config["learning_rate"]})
        tune.report({"loss": _once(shared, replace(trial, config=chosen), config["steps"])})

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    space = {"learning_rate": tune.loguniform(1e-6, 1e-5), "steps": tune.choice(trial.steps)}
    began = time.perf_counter()
    tune.Tuner(
        tune.with_parameters(ascend, shared=workload),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=TUNED, search_alg=ConcurrencyLimiter(OptunaSearch(), 1)
        ),
    ).fit()
    return {"seconds": (time.perf_counter() - began) / TUNED}


PARTS = {"prepare": prepare, "by-hand": by_hand, "engine": engine, "setting": setting, "plain-tune": plain_tune}


def main() -> None:
    """Run a part."""
    _, what, folder = sys.argv
    print(json.dumps(PARTS[what](Path(folder))))  # noqa: T201


if __name__ == "__main__":
    main()
