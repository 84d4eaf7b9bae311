"""Runs whose schedule depends on their length: one path for each setting, as of one trial evaluated on its way."""

import json
from itertools import chain

import pyarrow as pa

from orchestrator.claims.horizons import joined_over_horizons

STEPS = (4, 2, 9)


def table(rows):
    return pa.Table.from_pylist(rows)


def made(stratum="verses/seed=0", rate=0.1, steps=STEPS, horizons=True, name="r"):
    """The tables of runs of one setting, in the order of ``steps``, each with step 0 and its end."""
    config = json.dumps({"learning_rate": rate})
    trials, evaluations, examples = [], [], []
    for step in steps:
        own = f"{name}{step}"
        horizon = step if horizons else None
        status = "collapsed" if step == 9 else "completed"
        trials.append({"trial_id": own, "stratum": stratum, "config": config, "horizon": horizon, "status": status})
        setting = {"settings": f"lr={rate} horizon={horizon}", "setting_id": f"{rate} {horizon}"}
        evaluations += [{"trial_id": own, "step": at, "gen_ex": 10.0 - at, **setting} for at in (0, step)]
        examples += [{"trial_id": own, "step": at, "example_id": "x", "gen_ex": 10.0 - at} for at in (0, step)]
    return trials, evaluations, examples


def joined(*parts):
    return joined_over_horizons(*(table(list(chain(*own))) for own in zip(*parts, strict=True)))


def test_runs_of_one_setting_are_one_path():
    found = joined(made())
    assert found.trials.select(["trial_id", "status"]).to_pylist() == [{"trial_id": "r2", "status": "collapsed"}]
    rows = sorted(found.evaluations.to_pylist(), key=lambda row: row["step"])
    assert [(row["trial_id"], row["step"], row["gen_ex"]) for row in rows] == [
        ("r2", 0, 10.0), ("r2", 2, 8.0), ("r2", 4, 6.0), ("r2", 9, 1.0)
    ]  # fmt: skip
    assert {row["setting_id"] for row in rows} == {"0.1 2"}
    assert sorted(row["step"] for row in found.examples.to_pylist()) == [0, 2, 4, 9]


def test_strata_and_settings_stay_apart():
    found = joined(made(), made(stratum="people/seed=0", name="p"), made(rate=0.2, name="q"))
    assert sorted(found.trials["trial_id"].to_pylist()) == ["p2", "q2", "r2"]
    assert len(found.evaluations) == 3 * 4


def test_trials_that_go_along_the_axis_stay_as_they_are():
    trials, evaluations, examples = map(table, made(horizons=False))
    found = joined_over_horizons(trials, evaluations, examples)
    assert (found.trials, found.evaluations, found.examples) == (trials, evaluations, examples)
    mixed = joined(made(), made(stratum="people/seed=0", horizons=False, name="p"))
    assert sorted(mixed.trials["trial_id"].to_pylist()) == ["p2", "p4", "p9", "r2"]
    assert len(mixed.evaluations) == 4 + 6
