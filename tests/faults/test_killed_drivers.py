"""SIGKILL of the driver at any moment: whatever the sampler, the sweep ends as if nothing had happened.

Real processes, killed for real, through the real search, ledger, lease, ascent and checkpoints; Ray's part is in
``tests/integration/test_interruption.py``.
"""

import random
from pathlib import Path
from typing import get_args

import duckdb
import pytest
from optuna.trial import TrialState

from orchestrator.ledger import Ledger
from orchestrator.search import SweepSearch
from orchestrator.spec import LISTING, amend_spec
from orchestrator.spec.search_config import Sampler
from orchestrator.storage import LocalStorage
from tests.faults.sweeper import CHECKPOINT_STEPS, Sweeper, events
from tests.integration.helpers import rows
from tests.orchestrator.helpers import make_spec

SAMPLERS = get_args(Sampler)
ADAPTIVE = set(SAMPLERS) - {"grid", "brute_force", "random", "qmc"}
"""Samplers that look at results: with several trials at once their proposals depend on who ends first."""
TABLES = ("trials", "evaluations", "examples")
KILLS = 3
"""In a row, each in the process that went on after the one before."""

RANGES = {
    "batch_size": 4,
    "optimizer": {
        "choices": {
            "adamw": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "grid_points": 2}},
            "sgd": {"learning_rate": {"low": 1e-2, "high": 1e1, "log": True, "grid_points": 2}},
        }
    },
}


@pytest.fixture(scope="module")
def sweeper():
    process = Sweeper.start()
    yield process
    process.stop()


def spec_of(sampler):
    search = {"sampler": sampler, "startup_trials": 2, "population_size": 4, "space": RANGES}
    search["trials"] = None if sampler in LISTING else 5
    if sampler == "cmaes":  # ranges only, and one objective
        search["space"] = {"batch_size": 4, "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
        search["minimize"] = "unlearning_quality"
    forget = {"distribution": "in", "size": 6, "population": 10}
    return make_spec(
        name=sampler, data={"forget_sets": {"forget": forget}}, steps=[0, 2, 5, 7], seeds=[0, 1], search=search
    )


@pytest.fixture(scope="module")
def unbroken(sweeper, tmp_path_factory):
    """Sweeps that nobody interrupted, by sampler, each run once."""
    found = {}

    def run(sampler):
        if sampler not in found:
            folder = tmp_path_factory.mktemp(f"unbroken-{sampler}")
            assert sweeper.run(folder, spec_of(sampler))
            found[sampler] = folder
        return found[sampler]

    return run


def killed_again_and_again(sweeper, folder, spec, *, seed, at_once=1):
    """Run a sweep that is killed ``KILLS`` times on the way; give how often it really was."""
    draw = random.Random(seed)
    kills = 0
    for _ in range(KILLS):
        if sweeper.run(folder, spec, at_once=at_once, die_at=draw.randint(1, 150)):
            return kills
        kills += 1
        readable_by_anyone(folder / spec.name)
    assert sweeper.run(folder, spec, at_once=at_once)
    return kills


def readable_by_anyone(sweep: Path) -> None:
    """A reader that knows nothing of ours sees each (trial, step) once, whole."""
    if list(sweep.glob("evaluations/*.parquet")):
        (total, distinct), *_ = duckdb.sql(
            f"select count(*), count(distinct (trial_id, step)) from read_parquet('{sweep}/evaluations/*.parquet')"
        ).fetchall()
        assert total == distinct


def assert_nothing_was_done_twice(folder, spec, kills):
    counted = events(folder)
    evaluated = {what: n for what, n in counted.items() if what[0] == "evaluate"}
    assert sum(evaluated.values()) - len(evaluated) <= kills, "only the one that was not committed yet"
    steps = {what: n for what, n in counted.items() if what[0] == "step"}
    assert sum(steps.values()) - len(steps) <= kills * CHECKPOINT_STEPS, "one interval a kill"


def assert_optuna_agrees_with_the_ledger(sweep, spec):
    ledger = Ledger(storage=LocalStorage(sweep), sweep=spec.name)
    search = SweepSearch(spec, ledger, workload_hashes=["workload"], concurrent_trials=1)
    assert search.is_exhausted()
    trials = [t for stratum in search.studies.values() for t in stratum.study.get_trials(deepcopy=False)]
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    told = [t for t in trials if t.state is TrialState.COMPLETE and max(map(abs, t.values)) < float("inf")]
    assert len(told) == len(rows(sweep, "evaluations"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_killed_three_times_in_a_row_a_sweep_ends_as_an_unbroken_one(sampler, sweeper, unbroken, tmp_path):
    spec, whole = spec_of(sampler), unbroken(sampler)
    kills = killed_again_and_again(sweeper, tmp_path, spec, seed=sampler)
    assert kills, "it was never killed"
    for table in TABLES:
        assert rows(tmp_path / sampler, table) == rows(whole / sampler, table)
    assert_nothing_was_done_twice(tmp_path, spec, kills)
    assert_optuna_agrees_with_the_ledger(tmp_path / sampler, spec)
    assert sorted(path.name for path in (tmp_path / sampler).rglob(".*")) == []


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_with_several_trials_at_once_nothing_is_lost_or_done_twice(sampler, sweeper, unbroken, tmp_path):
    spec, whole = spec_of(sampler), unbroken(sampler)
    kills = killed_again_and_again(sweeper, tmp_path, spec, seed=f"{sampler} at once", at_once=3)
    assert kills, "it was never killed"
    assert_nothing_was_done_twice(tmp_path, spec, kills * 3)
    assert_optuna_agrees_with_the_ledger(tmp_path / sampler, spec)
    if sampler not in ADAPTIVE:
        for table in TABLES:
            assert rows(tmp_path / sampler, table) == rows(whole / sampler, table)


def test_an_extended_sweep_that_is_killed_ends_as_one_that_was_never_shorter(sweeper, tmp_path):
    spec = spec_of("random")
    longer = amend_spec(spec, ["search.trials=7", "steps=[0, 2, 5, 7, 8, 11]"])
    assert sweeper.run(tmp_path / "whole", longer)
    assert sweeper.run(tmp_path / "grown", spec)
    kills = killed_again_and_again(sweeper, tmp_path / "grown", longer, seed="extended")
    assert kills
    for table in ("evaluations", "examples"):
        assert rows(tmp_path / "grown" / "random", table) == rows(tmp_path / "whole" / "random", table)
    steps = [what for what in events(tmp_path / "grown") if what[0] == "step"]
    assert sum(events(tmp_path / "grown")[what] for what in steps) <= len(steps) + kills * CHECKPOINT_STEPS
