"""Early ends: when the target is passed and performance only falls, and at the rungs of successive halving."""

from dataclasses import replace
from itertools import pairwise

import pytest
from pydantic import ValidationError

from tests.support import FakeClock, MemorySink, deterministic, run_to_end, tiny_trial, tiny_workload
from trainables.config import StopConfig
from trainables.distributed import ALONE
from trainables.records import EvaluationRecord, Status
from trainables.trial import EVALUATION, OUTCOME, RUNG, Engine, TrialRun, stays_ended
from trainables.trial.reports import next_report
from trainables.trial.sinks import LeaderSink
from trainables.trial.stopping import early_end, is_rung
from trainables.trial.trial_run import SLICE_S

TRIAL = tiny_trial(steps=(0, 2, 4, 6, 8, 10), optimizer="adamw", learning_rate=0.02, batch_size=6)
PASSED = StopConfig(max_heldout_nll_increase=50.0, exposure_at_most=1000.0, patience=2)
"""Passed from the start, so that performance alone decides."""
HALVING = StopConfig(max_heldout_nll_increase=50.0, halving={"rungs": [2, 6], "reduction": 3})


def evaluations(*points, measure="gen_ex"):
    """Evaluations of (exposure, performance), at steps 1, 2, ..."""
    blank = dict.fromkeys(EvaluationRecord.__dataclass_fields__, 0.0)
    exposure = {"gen_ex": None, "rel_ex": 99.0}
    return [
        EvaluationRecord(
            **{**blank, **exposure, measure: bits, "performance": nll, "step": step, "status": Status.COMPLETED}
        )
        for step, (bits, nll) in enumerate(points, start=1)
    ]


@pytest.mark.parametrize(
    ("points", "ends"),
    [
        ([(5, 3.0), (2, 3.1), (1, 3.2), (-1, 3.3)], True),
        ([(5, 3.0), (2, 3.1), (1, 3.2)], False),
        ([(5, 3.0), (2.1, 3.1), (1, 3.2), (-1, 3.3)], False),
        ([(5, 3.0), (2, 3.1), (1, 3.05), (-1, 3.3)], False),
        ([(5, 3.0), (2, 3.1), (1, 3.2), (0, 3.2)], False),
        ([(1, 3.0), (1, 3.1), (2.5, 3.2), (1, 3.3)], False),
        ([(0, 9.0), (2, 3.0), (2, 3.1), (1, 3.2), (-1, 3.3)], True),
        ([], False),
    ],
)
@pytest.mark.parametrize("measure", ["gen_ex", "rel_ex"])
def test_a_trial_ends_after_patience_evaluations_past_the_target_that_each_perform_worse(points, ends, measure):
    stop = StopConfig(exposure_at_most=2.0, patience=3)
    found = evaluations(*points, measure=measure)
    assert stays_ended(stop, found) == ends
    if points:
        reason = early_end(stop, found)
        assert (reason is not None) == ends
        assert not ends or "past the target 2" in reason
        assert early_end(StopConfig(), found) is None, "nothing is asked for"


def test_a_rung_is_no_end_by_the_trials_own_rules_and_what_ended_there_stays_so():
    stop = StopConfig(halving={"rungs": [2, 4], "reduction": 3})
    at_rung = evaluations((9, 3.0), (8, 3.0))
    assert [is_rung(stop, step) for step in (1, 2, 3, 4)] == [False, True, False, True]
    assert not is_rung(StopConfig(), 2)
    assert early_end(stop, at_rung) is None
    assert stays_ended(stop, at_rung)
    assert not stays_ended(stop, at_rung[:1])


def test_rungs_increase_and_a_reduction_reduces():
    with pytest.raises(ValidationError, match="strictly increasing; found"):
        StopConfig(halving={"rungs": [4, 2]})
    with pytest.raises(ValidationError, match="greater than 1"):
        StopConfig(halving={"rungs": [2], "reduction": 1})


@pytest.fixture(scope="module")
def workload():
    return tiny_workload(max_increase=50.0)


@pytest.fixture(scope="module")
def whole(workload):
    results = MemorySink()
    run_to_end(Engine(workload), TRIAL, results)
    return results.published("trial")[0]


@pytest.fixture(scope="module")
def short(whole):
    """As many evaluations as it takes until performance has fallen twice in a row."""
    falls = [later.performance > earlier.performance for earlier, later in pairwise(whole)]
    count = next(index + 2 for index in range(1, len(falls)) if falls[index - 1] and falls[index])
    assert count < len(whole), "the checks would be empty"
    return count


def test_a_trial_past_its_target_completes_early_and_its_rows_are_those_of_the_whole(workload, whole, short):
    results = MemorySink()
    run = run_to_end(Engine(replace(workload, stop=PASSED)), TRIAL, results)
    assert (run.outcome.status, run.outcome.last_step) == (Status.COMPLETED, whole[short - 1].step)
    assert "stop.patience" in run.outcome.message
    assert deterministic(results.published("trial")[0]) == deterministic(whole[:short])
    assert "trial" in results.checkpoints, "it may go on"


def test_a_trial_that_goes_on_without_the_rule_ends_as_the_whole(workload, whole):
    results = MemorySink()
    run_to_end(Engine(replace(workload, stop=PASSED)), TRIAL, results)
    run = run_to_end(Engine(workload), TRIAL, results)
    assert (run.outcome.status, run.outcome.last_step, run.outcome.message) == (Status.COMPLETED, 10, None)
    assert deterministic(results.published("trial")[0]) == deterministic(whole)


def test_an_early_end_whose_outcome_alone_was_lost_is_found_again_without_a_step(workload, whole, short):
    results = MemorySink()
    results.publish("trial", whole[:short], [], None)
    run = TrialRun(Engine(replace(workload, stop=PASSED)), TRIAL, results)
    assert run.advance() is None
    assert (run.outcome.status, run.outcome.last_step) == (Status.COMPLETED, whole[short - 1].step)


def test_the_base_models_row_ends_no_trial_whose_axis_lacks_it(workload, whole):
    """It performs best, so that it would count as one more evaluation from which performance fell."""
    stop = StopConfig(max_heldout_nll_increase=50.0, exposure_at_most=1e6, patience=1)
    ends = {}
    for steps in (TRIAL.steps, TRIAL.steps[1:]):
        results = MemorySink()
        results.publish("trial", [replace(whole[0], performance=0.0)], [], None)
        run = run_to_end(Engine(replace(workload, stop=stop)), replace(TRIAL, steps=steps), results)
        ends[steps[0]] = run.outcome.last_step
    falls = [later.step for earlier, later in pairwise(whole[1:]) if later.performance > earlier.performance]
    assert ends == {0: 2, 2: falls[0] if falls else 10}


def test_a_trial_with_nothing_but_the_base_models_row_has_not_ended():
    results, trial = MemorySink(), replace(TRIAL, steps=TRIAL.steps[1:])
    engine = Engine(tiny_workload(max_increase=-0.5))
    TrialRun(engine, trial, results).interrupt()
    assert [e.status for e in results.published("trial")[0]] == [Status.COLLAPSED], "of a bf16 model it may be"
    assert run_to_end(engine, trial, results).outcome.last_step == trial.steps[0]


BEHIND = "step 6: number 2 of the 3 (stop.halving)"


def reports_of(run):
    reports = []
    while run.outcome is None:
        reports.append(next_report(run))
    return reports


def test_a_trial_reports_each_rung_once_and_ends_where_it_is_judged_to_be_behind(workload, whole):
    results = MemorySink()
    results.verdicts = [None, BEHIND]
    run = TrialRun(Engine(replace(workload, stop=HALVING)), TRIAL, results)
    reports = [report for report in reports_of(run) if report]  # slices between evaluations say nothing
    assert [report.get(RUNG) for report in reports] == [None, 2, None, 6, None]
    assert [report[EVALUATION].step for report in reports[:-1]] == [0, 2, 4, 6]
    assert reports[-1] == {OUTCOME: "completed"}, "it ends by a slice of its own, once it was judged"
    assert results.judged == [("trial", [0, 2]), ("trial", [0, 2, 4, 6])], "it is published before"
    assert (run.outcome.status, run.outcome.last_step) == (Status.COMPLETED, 6)
    assert run.outcome.message == BEHIND
    assert deterministic(results.published("trial")[0]) == deterministic(whole[:4])
    assert "trial" in results.checkpoints, "it may go on"


def test_a_trial_that_goes_on_from_a_rung_is_judged_there_once_and_not_while_it_ascends(workload, whole):
    results = MemorySink()
    results.publish("trial", whole[:2], [], None)
    stop = StopConfig(max_heldout_nll_increase=50.0, halving={"rungs": [2]})
    clock = FakeClock(tick=SLICE_S / 2)  # every slice ends after a step or two
    run = TrialRun(Engine(replace(workload, stop=stop)), TRIAL, results, clock=clock)
    reports = reports_of(run)
    assert reports[0] == {RUNG: 2}, "whoever drove it may have died before it was judged"
    assert len(reports) > 5, "the check would be empty"
    assert not any(RUNG in report for report in reports[1:])
    assert results.judged == [("trial", [0, 2])]
    assert run.outcome.last_step == 10


def test_a_trial_that_is_asked_to_stop_at_a_rung_stops_and_is_not_judged(workload, whole):
    results = MemorySink()
    run = TrialRun(Engine(replace(workload, stop=HALVING)), TRIAL, results)
    while run.rung is None:
        run.advance()
    results.stop = True
    assert next_report(run) == {OUTCOME: "stopped"}
    assert results.judged == []


def test_the_leader_reads_the_verdict_for_all():
    results = MemorySink()
    results.verdicts = ["as its sibling"]
    assert LeaderSink(results, ALONE).verdict("trial") == "as its sibling"
