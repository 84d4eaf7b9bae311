"""Early ends: when the target is passed and performance only falls, and at the rungs of successive halving."""

from dataclasses import replace
from itertools import pairwise

import pytest
from pydantic import ValidationError

from tests.support import FakeClock, MemorySink, deterministic, tiny_trial, tiny_workload
from trainables.config import StopConfig
from trainables.distributed import ALONE
from trainables.records import EvaluationRecord, Status
from trainables.trial import Engine, Rank, TrialRun, stays_ended
from trainables.trial.sinks import LeaderSink
from trainables.trial.stopping import early_end
from trainables.trial.trial_run import SLICE_S, run_to_end

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


def never_asked(*_):
    raise AssertionError("its rank is of no interest, and neither is what its siblings came to")


def alone(reason):
    """Agree with siblings that there are none of."""
    return reason


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
        reason = early_end(stop, found, never_asked, never_asked)
        assert (reason is not None) == ends
        assert not ends or "past the target 2" in reason
        assert early_end(StopConfig(), found, never_asked, never_asked) is None, "nothing is asked for"


@pytest.mark.parametrize(
    ("rank", "among", "goes_on"),
    [(1, 1, True), (1, 2, True), (2, 2, False), (2, 5, False), (2, 6, True), (3, 8, False), (3, 9, True)],
)
def test_at_a_rung_one_in_reduction_goes_on_and_always_the_best(rank, among, goes_on):
    stop = StopConfig(halving={"rungs": [2, 4], "reduction": 3})
    at_rung = evaluations((9, 3.0), (8, 3.0))
    reason = early_end(stop, at_rung, lambda: Rank(rank, among), alone)
    assert (reason is None) == goes_on
    assert goes_on or f"number {rank} of the {among}" in reason
    assert early_end(stop, at_rung[:1], never_asked, never_asked) is None, "between rungs"
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
def full_tensor(workload):
    results = MemorySink()
    run_to_end(Engine(workload), TRIAL, results)
    return results.published("trial")[0]


@pytest.fixture(scope="module")
def short(full_tensor):
    """As many evaluations as it takes until performance has fallen twice in a row."""
    falls = [later.performance > earlier.performance for earlier, later in pairwise(full_tensor)]
    count = next(index + 2 for index in range(1, len(falls)) if falls[index - 1] and falls[index])
    assert count < len(full_tensor), "the checks would be empty"
    return count


def test_a_trial_past_its_target_completes_early_and_its_rows_are_those_of_the_whole(workload, full_tensor, short):
    results = MemorySink()
    run = run_to_end(Engine(replace(workload, stop=PASSED)), TRIAL, results)
    assert (run.outcome.status, run.outcome.last_step) == (Status.COMPLETED, full_tensor[short - 1].step)
    assert "stop.patience" in run.outcome.message
    assert deterministic(results.published("trial")[0]) == deterministic(full_tensor[:short])
    assert "trial" in results.checkpoints, "it may go on"


def test_a_trial_that_goes_on_without_the_rule_ends_as_the_whole(workload, full_tensor):
    results = MemorySink()
    run_to_end(Engine(replace(workload, stop=PASSED)), TRIAL, results)
    run = run_to_end(Engine(workload), TRIAL, results)
    assert (run.outcome.status, run.outcome.last_step, run.outcome.message) == (Status.COMPLETED, 10, None)
    assert deterministic(results.published("trial")[0]) == deterministic(full_tensor)


def test_an_early_end_whose_outcome_alone_was_lost_is_found_again_without_a_step(workload, full_tensor, short):
    results = MemorySink()
    results.publish("trial", full_tensor[:short], [], None)
    run = TrialRun(Engine(replace(workload, stop=PASSED)), TRIAL, results)
    assert run.advance() is None
    assert (run.outcome.status, run.outcome.last_step) == (Status.COMPLETED, full_tensor[short - 1].step)


def test_the_base_models_row_ends_no_trial_whose_axis_lacks_it(workload, full_tensor):
    """It performs best, so that it would count as one more evaluation from which performance fell."""
    stop = StopConfig(max_heldout_nll_increase=50.0, exposure_at_most=1e6, patience=1)
    ends = {}
    for steps in (TRIAL.steps, TRIAL.steps[1:]):
        results = MemorySink()
        results.publish("trial", [replace(full_tensor[0], performance=0.0)], [], None)
        run = run_to_end(Engine(replace(workload, stop=stop)), replace(TRIAL, steps=steps), results)
        ends[steps[0]] = run.outcome.last_step
    falls = [later.step for earlier, later in pairwise(full_tensor[1:]) if later.performance > earlier.performance]
    assert ends == {0: 2, 2: falls[0] if falls else 10}


def test_the_base_models_row_is_not_ranked_where_the_axis_lacks_it(workload, full_tensor):
    results = MemorySink()
    results.ranks = [Rank(1, 3), Rank(2, 3)]
    run_to_end(Engine(replace(workload, stop=HALVING)), replace(TRIAL, steps=TRIAL.steps[1:]), results)
    assert [steps for _, steps, _ in results.ranked] == [[2], [2, 4, 6]]


def test_a_trial_with_nothing_but_the_base_models_row_has_not_ended():
    results, trial = MemorySink(), replace(TRIAL, steps=TRIAL.steps[1:])
    engine = Engine(tiny_workload(max_increase=-0.5))
    TrialRun(engine, trial, results).interrupt()
    assert [e.status for e in results.published("trial")[0]] == [Status.COLLAPSED], "of a bf16 model it may be"
    assert run_to_end(engine, trial, results).outcome.last_step == trial.steps[0]


def test_a_trial_asks_for_its_rank_once_at_each_rung_and_ends_where_it_is_behind(workload, full_tensor):
    results = MemorySink()
    results.ranks = [Rank(1, 3), Rank(2, 3)]
    run = run_to_end(Engine(replace(workload, stop=HALVING)), TRIAL, results)
    floor = workload.evaluation_sets["forget"].max_heldout_nll
    assert results.ranked == [("trial", [0, 2], floor), ("trial", [0, 2, 4, 6], floor)]
    assert (run.outcome.status, run.outcome.last_step) == (Status.COMPLETED, 6)
    assert "stop.halving" in run.outcome.message
    assert deterministic(results.published("trial")[0]) == deterministic(full_tensor[:4])


def test_a_trial_that_goes_on_from_a_rung_is_judged_there_once_and_not_while_it_ascends(workload, full_tensor):
    results = MemorySink()
    results.publish("trial", full_tensor[:2], [], None)
    results.ranks = [Rank(1, 3)]
    stop = StopConfig(max_heldout_nll_increase=50.0, halving={"rungs": [2]})
    clock = FakeClock(tick=SLICE_S / 2)  # every slice ends after a step or two
    run = TrialRun(Engine(replace(workload, stop=stop)), TRIAL, results, clock=clock)
    advances = 0
    while run.outcome is None:
        run.advance()
        advances += 1
    assert advances > 5, "the check would be empty"
    assert [steps for _, steps, _ in results.ranked] == [[0, 2]]
    assert run.outcome.last_step == 10


@pytest.mark.parametrize(("rank", "decided", "last_step"), [(1, "as its sibling", 6), (3, None, 10)])
def test_what_another_seed_of_the_setting_came_to_at_a_rung_holds_whatever_the_trials_own_rank(
    workload, rank, decided, last_step
):
    results = MemorySink()
    results.ranks = [Rank(1, 3), Rank(rank, 3)]
    results.agreed = {6: decided}
    run = run_to_end(Engine(replace(workload, stop=HALVING)), TRIAL, results)
    assert (run.outcome.status, run.outcome.last_step) == (Status.COMPLETED, last_step)
    assert run.outcome.message == decided


def test_the_leader_ranks_and_agrees_for_all():
    results = MemorySink()
    results.ranks = [Rank(2, 3)]
    results.agreed = {4: "as its sibling"}
    assert LeaderSink(results, ALONE).rank("trial", [], worst_performance=4.0) == (2, 3)
    assert LeaderSink(results, ALONE).agree("trial", 4, None) == "as its sibling"
