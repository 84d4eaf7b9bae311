"""Every trial has a row of step 0, the base model's: what is said of a sweep is the same with it and without it."""

import re
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from orchestrator.errors import SweepError
from orchestrator.frontier import frontiers
from orchestrator.ledger import TrialWriter, repair_ledger
from orchestrator.monitor import Tracking, sweep_status
from orchestrator.points import best_step, parse_conditions
from orchestrator.query import query
from orchestrator.report.data import read_report_data
from orchestrator.report.importances import importances
from orchestrator.spec import on_axis, stored_spec
from tests.orchestrator.helpers import (
    Crash,
    Driver,
    base_record,
    evaluation_record,
    example_record,
    halving_of,
    make_search,
    make_spec,
    memory_ledger,
    outcome,
    write_sweep_to,
)

OFF_AXIS = {
    "steps": [2, 5, 9],
    "seeds": [0, 1],
    "search": {
        "sampler": "tpe",
        "trials": 5,
        "space": {"batch_size": 4, "learning_rate": {"low": 1e-5, "high": 2e-3, "log": True}},
    },
}


@pytest.fixture(scope="module")
def pair():
    """A sweep whose trials have rows of step 0, and the same one without."""
    spec = make_spec(**OFF_AXIS)
    return tuple(write_sweep_to(memory_ledger(), spec, base_rows=base_rows) for base_rows in (True, False))


def test_every_trial_has_one_row_of_step_0(pair):
    for ledger, expected in zip(pair, (1, 0), strict=True):
        steps = {row["trial_id"]: [] for row in ledger.trials()}
        for name in ("evaluations", "examples"):
            for row in ledger.table(name).to_pylist():
                steps[row["trial_id"]].append(row["step"])
        assert len(steps) == 2 * 2 * 5
        assert {found.count(0) for found in steps.values()} == {2 * expected}


def best(ledger):
    found = best_step(ledger, parse_conditions("exposure<=100"), "verses")
    return found.trial_id, found.step, found.metrics


def nearest(ledger):
    with pytest.raises(SweepError) as raised:
        best_step(ledger, parse_conditions("performance<=0"), "verses")
    return str(raised.value)


def page(ledger):
    return {**asdict(read_report_data(ledger)), "uri": None}


def tracked(ledger):
    tracker = Mock()
    count = Tracking(ledger, [tracker]).update()
    given = [call.args[0] for call in tracker.write.call_args_list]
    return count, [(t.trial_id, [row["step"] for row in t.evaluations], len(t.fresh)) for t in given]


def studies(ledger):
    search = make_search(stored_spec(ledger), ledger)
    trials = [
        (trial.params, trial.state, trial.values, trial.constraints)
        for stratum in search.studies.values()
        for trial in stratum.study.get_trials(deepcopy=False)
    ]
    return trials, search.statuses, search.is_exhausted(), search.spent_budget()


@pytest.mark.parametrize(
    "say",
    [
        lambda ledger: [frontier.as_json() for frontier in frontiers(ledger)],
        lambda ledger: [f.as_json() for f in frontiers(ledger, objectives=("gen_ex", "elapsed_s"))],
        lambda ledger: [f.as_json() for f in frontiers(ledger, objectives=("step", "performance"))],
        page,
        importances,
        best,
        nearest,
        lambda ledger: {**sweep_status(ledger), "uri": None},
        tracked,
        studies,
    ],
    ids=["frontier", "seconds", "steps", "page", "importances", "best", "nearest", "status", "tracked", "studies"],
)
def test_what_is_said_of_a_sweep_is_the_same_without_the_rows(pair, say):
    """But for the rows themselves: ``query`` and whoever reads the files see them."""
    with_rows, without = map(say, pair)
    assert with_rows == without


def test_an_axis_that_has_step_0_keeps_its_rows():
    ledger = write_sweep_to(memory_ledger(), make_spec())
    evaluations = ledger.table("evaluations")
    assert 0 in evaluations["step"].to_pylist()
    assert on_axis(stored_spec(ledger), evaluations) is evaluations
    assert sweep_status(ledger)["evaluations"] == evaluations.num_rows
    per_trial = query([ledger], "select trial_id, count(*) as n from evaluations where step = 0 group by 1").to_pylist()
    assert {row["n"] for row in per_trial} == {1}


def test_a_sweep_of_before_goes_on_without_a_second_row_or_a_refusal():
    spec = make_spec(**OFF_AXIS)
    whole, ledger = write_sweep_to(memory_ledger(), spec), memory_ledger()
    with pytest.raises(Crash):
        Driver(make_search(spec, ledger), ledger, base_rows=False, crash_after=15).run()
    before = ledger.table("evaluations")
    repair_ledger(ledger)
    Driver(make_search(spec, ledger), ledger).run()
    assert before.num_rows > 3
    assert make_search(spec, ledger).is_exhausted()
    counts = "select trial_id, step, count(*) as n from evaluations group by all"
    rows = query([ledger], counts).to_pylist()
    assert {row["n"] for row in rows} == {1}
    bases = {row["trial_id"] for row in rows if row["step"] == 0}
    assert {row["trial_id"] for row in ledger.trials()} - bases <= set(before["trial_id"].to_pylist())
    assert [row["trial_id"] for row in ledger.trials()] == [row["trial_id"] for row in whole.trials()]


def test_no_area_is_of_the_base_model_when_trials_are_ranked():
    """Where trials compute in bf16 it may read a little better than the baseline, which is measured in fp32."""
    spec = make_spec(search={"trials": 2}, seeds=[0], stop={"halving": {"rungs": [2]}})
    ledger = write_sweep_to(memory_ledger(), spec)
    mine, other = (row["trial_id"] for row in ledger.trials() if row["forget_set"] == "verses")
    base = evaluation_record(0, quality=9.0, performance=2.9)
    for trial_id, first, records in (
        (mine, [base], [evaluation_record(2, quality=8.0, performance=3.0)]),
        (other, [], [evaluation_record(2, quality=8.0, performance=2.99)]),
    ):
        for name in ("evaluations", "examples"):
            ledger.storage.remove(f"{name}/{trial_id}.parquet")
        rows = [*first, *records]
        TrialWriter(ledger).publish(trial_id, rows, [example_record(row.step) for row in rows], None)
    halving = halving_of(ledger, spec)
    trials = [
        SimpleNamespace(trial_id=trial_id, forget_set="verses", seed=0, replicate=0) for trial_id in (mine, other)
    ]
    assert [halving.rank(trial, 2) for trial in trials] == [(2, 2), (1, 2)]


def test_the_base_models_row_does_not_keep_a_trial_ended_that_was_let_go():
    """A resume with more patience counts the evaluations of the axis."""
    spec = make_spec(**OFF_AXIS | {"seeds": [0], "stop": {"exposure_at_most": 100.0, "patience": 2}})
    ledger = memory_ledger()
    assignment = make_search(spec, ledger).next()
    falling = [evaluation_record(step, performance=3 + step / 10, gen_ex=1.0) for step in (2, 5)]
    rows = [base_record(), *falling]
    ended = outcome(last_step=5, message="past the target, at one evaluation")
    TrialWriter(ledger).publish(assignment.trial.trial_id, rows, [example_record(row.step) for row in rows], ended)
    assert make_search(spec, ledger).next().trial.trial_id == assignment.trial.trial_id


def test_the_query_of_the_readme_runs(pair):
    """But for the trial and its step, which are another sweep's."""
    ledger, _ = pair
    text = (Path(__file__).parents[3] / "orchestrator" / "README.md").read_text()
    (sql,) = re.findall(r"```sql\n(.*?)```", text, flags=re.S)
    trial = ledger.trials()[0]
    found = query([ledger], sql.replace("12ad78a2", trial["trial_id"][:8]).replace("step = 20", "step = 5"))
    assert found.to_pylist() == [{"completion": trial["forget_set"], "before": 0.5, "after": 0.5}]


def test_forget_examples_name_their_sweeps(tmp_path):
    ledgers = [write_sweep_to(memory_ledger(), make_spec(name=name)) for name in ("one", "other")]
    for ledger, name in zip(ledgers, ("one", "other"), strict=True):
        object.__setattr__(ledger, "sweep", name)
    rows = query(ledgers, "select sweep, forget_set, completion from forget_examples order by all").to_pylist()
    assert [(row["sweep"], row["forget_set"]) for row in rows] == [
        (sweep, forget_set) for sweep in ("one", "other") for forget_set in ("people", "verses")
    ]


def test_a_sweep_without_texts_has_an_empty_table_of_them():
    ledger = memory_ledger()
    assert query([ledger], "select count(*) as n from forget_examples").to_pylist() == [{"n": 0}]
