"""What is kept between questions, or made without Optuna's own detours, is what asking and making anew gives."""

import copy
import random

import optuna
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.errors import LedgerWarning
from orchestrator.ledger import TrialWriter
from orchestrator.ledger.tables import table_files
from orchestrator.ledger.tables.checked_rows import find_problem
from orchestrator.ledger.tables.parquet import encode
from orchestrator.search import finished_trial, study_search
from orchestrator.search.budget import Budget
from orchestrator.spec import BudgetConfig
from tests.orchestrator.helpers import (
    Driver,
    evaluation_record,
    example_record,
    halving_of,
    make_search,
    make_spec,
    told,
    write_sweep,
)
from tests.orchestrator.search.test_constraints import ledger_with_baselines
from tests.support import FakeClock

DISTRIBUTIONS = {
    "optimizer": CategoricalDistribution(["adamw", "sgd"]),
    "rate": FloatDistribution(1e-5, 1e-2, log=True),
    "step_index": IntDistribution(0, 9),
}
PARAMS = {"optimizer": "sgd", "rate": 1e-3, "step_index": 4}
CASES = [
    {"values": [1.0, 2.0], "notes": {"nsga:generation": 3}, "constraints": {"feasible": 0.0, "bound": 0.5}},
    {"values": [float("inf"), float("inf")], "notes": {}, "constraints": {"feasible": 1.0}},
    {"values": None, "notes": {}, "constraints": None},
]


def slowly(*, values, params, distributions, notes=None, constraints=None):
    """Make a finished trial as Optuna's documentation has it."""
    return create_trial(
        state=TrialState.FAIL if values is None else TrialState.COMPLETE,
        values=values,
        params=dict(params),
        distributions=dict(distributions),
        system_attrs=dict(notes or {}),
        constraints=constraints,
    )


def parts(trial):
    return {name: part for name, part in vars(trial).items() if "datetime" not in name}


@pytest.mark.parametrize("case", CASES)
def test_a_finished_trial_is_the_one_that_optuna_makes(case):
    made = [make(params=PARAMS, distributions=DISTRIBUTIONS, **case) for make in (finished_trial, slowly)]
    assert parts(made[0]) == parts(made[1])
    study, slow_study = (optuna.create_study(directions=["minimize"] * 2) for _ in made)
    study.add_trial(made[0])
    slow_study.add_trial(made[1])
    assert [parts(trial) for trial in study.trials] == [parts(trial) for trial in slow_study.trials]
    assert list(study.trials[0].params) == list(PARAMS), "samplers draw by this order"
    assert study.trials[0].datetime_start == study.trials[0].datetime_complete is not None


@pytest.mark.parametrize("case", CASES)
def test_a_copy_of_a_finished_trial_can_be_changed_alone(case):
    trial = finished_trial(params=PARAMS, distributions=DISTRIBUTIONS, **case)
    copied = copy.deepcopy(trial)
    assert copied == trial
    copied.params = {}
    copied.set_user_attr("seen", 1)
    copied.system_attrs["note"] = 1
    copied.distributions.clear()
    assert (trial.params, trial.user_attrs, trial.distributions) == (PARAMS, {}, DISTRIBUTIONS)
    assert "note" not in trial.system_attrs


def test_a_study_refuses_a_finished_trial_that_it_would_refuse_of_optuna():
    study = optuna.create_study(directions=["minimize"] * 2)
    for wrong in ({"values": [1.0, float("nan")]}, {"values": [1.0, 2.0], "params": {**PARAMS, "step_index": 10}}):
        with pytest.raises(ValueError, match=r"NaN|isn't contained"):
            study.add_trial(finished_trial(**{"params": PARAMS, "distributions": DISTRIBUTIONS, **wrong}))


@pytest.mark.parametrize("across", ["each", "seeds"])
def test_a_search_proposes_and_remembers_what_it_would_with_optunas_own_trials(across, monkeypatch):
    spec = make_spec(seeds=[0, 1], search={"sampler": "tpe", "across": across, "trials": 6, "startup_trials": 2})

    def ran():
        ledger = ledger_with_baselines()
        live = make_search(spec, ledger)
        Driver(live, ledger).run()
        rows = [{k: row[k] for k in ("trial_id", "number", "proposals", "status")} for row in ledger.trials()]
        studies = [
            {name: [parts(t) for t in study.study.trials] for name, study in search.studies.items()}
            for search in (live, make_search(spec, ledger))
        ]
        return rows, studies

    quick = ran()
    monkeypatch.setattr(study_search, "finished_trial", slowly)
    assert quick == ran()


def test_the_account_of_a_budget_is_the_sum_of_its_trials_after_any_events():
    rng = random.Random(0)
    account = Budget(
        BudgetConfig(max_steps_total=400, max_gpu_hours=2.0),
        ["a", "b"],
        longest_trial=10,
        gpus_per_trial=1.0,
        driven_before_s=0.0,
        clock=FakeClock(),
    )
    trials = {}
    said = set()
    for _ in range(300):
        stratum, number = rng.choice("ab"), rng.randrange(30)
        trial = trials.setdefault((stratum, number), {"steps": 0, "target": None, "elapsed_s": 0.0})
        match rng.randrange(3):
            case 0:
                step, elapsed_s = rng.randrange(11), rng.random() * 300
                account.record(stratum, f"{stratum}{number}", step=step, elapsed_s=elapsed_s)
                trial["steps"] = max(step, trial["steps"])
                trial["elapsed_s"] = max(elapsed_s, trial["elapsed_s"])
            case 1:
                account.open(stratum, f"{stratum}{number}", 10)
                trial["target"] = 10
            case 2:
                account.close(stratum, f"{stratum}{number}")
                trial["target"] = None
        allowed = tuple(account.allows([name]) for name in "ab")
        assert allowed == tuple(_allows(trials, name) for name in "ab")
        said.add(allowed)
    assert len(said) > 1, "the check would be empty"


def test_files_are_checked_together_and_one_that_is_unsound_is_left_out_alone(tmp_path, monkeypatch):
    ledger = write_sweep(tmp_path, make_spec())
    whole = ledger.table("evaluations")
    checked = []
    monkeypatch.setattr(
        table_files, "find_problem", lambda name, rows: checked.append(rows) or find_problem(name, rows)
    )
    assert ledger.table("evaluations").equals(whole)
    assert [rows.num_rows for rows in checked] == [whole.num_rows]
    path, *others = sorted((tmp_path / "tiny" / "evaluations").iterdir())
    rows = pq.read_table(path)
    unsound = rows.set_column(rows.schema.get_field_index("step"), rows.schema.field("step"), pc.negate(rows["step"]))
    path.write_bytes(encode(unsound))
    with pytest.warns(LedgerWarning, match=rf"{path.name}: not rows of evaluations: 'step' is below 0") as warned:
        left = ledger.table("evaluations")
    assert len(warned) == 1
    assert set(left["trial_id"].to_pylist()) == {other.stem for other in others}
    assert left.equals(whole.filter(pc.not_equal(whole["trial_id"], path.stem)))


def _allows(trials, stratum):
    """Answer by adding up every trial."""

    def steps(name):
        return sum(max(t["steps"], t["target"] or 0) for (of, _), t in trials.items() if of == name)

    def hours(name):
        own = [t for (of, _), t in trials.items() if of == name]
        ended = [t["elapsed_s"] for t in own if t["target"] is None]
        mean_s = sum(ended) / len(ended) if ended else 0.0
        return sum(t["elapsed_s"] if t["target"] is None else max(t["elapsed_s"], mean_s) for t in own) / 3600

    room = min(400 / 2 - steps(stratum), 400 - steps("a") - steps("b"))
    return room >= 10 and min(2.0 / 2 - hours(stratum), 2.0 - hours("a") - hours("b")) > 0


def test_a_decision_of_halving_reads_one_trial_and_decides_as_one_that_reads_all(monkeypatch):
    spec = make_spec(steps=[0, 2, 5, 9, 12], seeds=[0, 1], search={"trials": 6}, stop={"halving": {"rungs": [2, 5, 9]}})
    ledger = ledger_with_baselines()
    search = make_search(spec, ledger, concurrent_trials=24)
    trials = [search.next().trial for _ in range(24)]
    halving = halving_of(ledger, spec)
    rng = random.Random(0)
    known = {trial.trial_id: [] for trial in trials}
    read = []
    reading = ledger.storage.read
    monkeypatch.setattr(type(ledger.storage), "read", lambda _, path: read.append(path) or reading(path))
    ranks = set()
    for turn in range(60):
        trial = rng.choice([trial for trial in trials if len(known[trial.trial_id]) < 3])
        rung = spec.steps[1:][len(known[trial.trial_id])]
        record = evaluation_record(rung, quality=rng.random() * 10, performance=3.5)
        known[trial.trial_id].append(record)
        examples = [example_record(record.step) for record in known[trial.trial_id]]
        TrialWriter(ledger).publish(trial.trial_id, known[trial.trial_id], examples, None)
        if rng.random() < 0.8:  # else its worker died before it told anybody, and goes on later
            halving.observe(trial, told(record))
        read.clear()
        rank = halving.rank(trial, rung)
        evaluations = [path for path in read if path.startswith("evaluations/")]
        assert turn == 0 or evaluations == [f"evaluations/{trial.trial_id}.parquet"]
        assert rank == halving_of(ledger, spec).rank(trial, rung)
        ranks.add(rank)
    assert len(ranks) > 5, "the check would be empty"
