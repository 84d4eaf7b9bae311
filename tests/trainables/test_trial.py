"""A trial's life: what is published when, checkpoints, interruption, and going on where it stopped."""

from dataclasses import replace

import pytest

from tests.support import FakeClock, MemoryResults, deterministic, same_state, state_of, tiny_trial, tiny_workload
from trainables import trial as trial_module
from trainables.records import Status
from trainables.trial import Engine, TrialRun, run_to_end

TRIAL = tiny_trial(steps=(0, 2, 4, 6), optimizer="adamw", learning_rate=0.01, batch_size=4)


@pytest.fixture(scope="module")
def workload():
    return tiny_workload(dropout=0.2)


@pytest.fixture
def engine(workload):
    return Engine(workload)


@pytest.fixture
def evaluated(monkeypatch):
    """The step of every evaluation that was really computed."""
    steps, real = [], trial_module.evaluate

    def counting(*args, **kwargs):
        steps.append(kwargs["step"])
        return real(*args, **kwargs)

    monkeypatch.setattr(trial_module, "evaluate", counting)
    return steps


def publications(results):
    return [content for call, content in results.calls if call == "publish"]


def test_published_rows_only_grow_and_the_outcome_comes_last(engine):
    results = MemoryResults()
    run = run_to_end(engine, TRIAL, results)
    steps = [[evaluation.step for evaluation in evaluations] for evaluations, _ in publications(results)]
    assert steps == [[0], [0, 2], [0, 2, 4], [0, 2, 4, 6]]
    assert [outcome for _, outcome in publications(results)] == [None, None, None, run.outcome]
    assert (run.outcome.status, run.outcome.last_step, run.outcome.message) == (Status.COMPLETED, 6, None)
    evaluations, examples = results.published("trial")
    assert [example.step for example in examples] == [step for step in (0, 2, 4, 6) for _ in range(6)]
    assert run.evaluations == evaluations


def test_the_checkpoint_is_discarded_after_the_outcome_is_published(engine):
    results = MemoryResults()
    run_to_end(engine, TRIAL, results)
    assert [call for call, _ in results.calls] == ["publish", "save"] * 3 + ["publish", "discard"]
    assert results.checkpoints == {}


def test_a_checkpoint_waits_for_its_interval():
    clock, results = FakeClock(), MemoryResults()
    run = TrialRun(Engine(tiny_workload(checkpoint_every_s=10.0)), TRIAL, results, clock=clock)
    clock.now = 9.0
    run.advance()
    assert results.checkpoints == {}
    clock.now = 10.0
    run.advance()
    assert list(results.checkpoints) == ["trial"]
    saved = results.checkpoints["trial"]
    clock.now = 19.0
    run.advance()
    assert results.checkpoints["trial"] is saved


def test_interrupting_leaves_a_checkpoint_and_the_status_stopped(engine):
    results = MemoryResults()
    run = TrialRun(engine, TRIAL, results)
    run.advance()
    run.advance()
    run.interrupt()
    assert results.outcomes["trial"].status is Status.STOPPED
    assert results.outcomes["trial"].last_step == 2
    assert list(results.checkpoints) == ["trial"]
    assert [e.step for e in results.published("trial")[0]] == [0, 2]


def test_interrupting_a_finished_trial_changes_nothing(engine):
    results = MemoryResults()
    run = run_to_end(engine, TRIAL, results)
    calls = list(results.calls)
    run.interrupt()
    assert results.calls == calls
    assert run.outcome.status is Status.COMPLETED


def test_interrupting_before_the_first_evaluation_can_be_resumed(engine, evaluated):
    results = MemoryResults()
    TrialRun(engine, TRIAL, results).interrupt()
    assert results.outcomes["trial"].last_step == 0
    assert run_to_end(engine, TRIAL, results).outcome.status is Status.COMPLETED
    assert evaluated == [0, 2, 4, 6]


@pytest.mark.parametrize("reuse", [True, False], ids=["same engine", "fresh engine"])
@pytest.mark.parametrize("how", ["interrupted", "killed", "killed, checkpoint lost", "killed before the checkpoint"])
@pytest.mark.parametrize("after", [1, 3])
def test_a_restarted_trial_repeats_no_evaluation_and_ends_bit_identical(workload, evaluated, after, how, reuse):
    whole, whole_results = Engine(workload), MemoryResults()
    run_to_end(whole, TRIAL, whole_results)
    evaluated.clear()

    engine, results = Engine(workload), MemoryResults()
    run = TrialRun(engine, TRIAL, results)
    for _ in range(after):
        earlier = results.load_checkpoint("trial")
        run.advance()
    if how == "interrupted":
        run.interrupt()
    elif how == "killed, checkpoint lost":
        results.checkpoints.clear()
    elif how == "killed before the checkpoint":
        results.checkpoints = {"trial": earlier} if earlier else {}
    engine = engine if reuse else Engine(workload)
    if reuse:
        run_to_end(engine, tiny_trial(trial_id="between", seed=1), MemoryResults())
        evaluated[:] = [0, 2, 4, 6][:after]
    resumed = run_to_end(engine, TRIAL, results)

    assert evaluated == [0, 2, 4, 6]
    assert resumed.outcome.status is Status.COMPLETED
    assert same_state(state_of(engine.model), state_of(whole.model))
    for found, expected in zip(results.published("trial"), whole_results.published("trial"), strict=True):
        assert deterministic(found) == deterministic(expected)


@pytest.mark.parametrize("max_increase", [3.0, -0.5], ids=["completed", "collapsed"])
def test_restarting_a_finished_trial_evaluates_nothing_and_ends_alike(max_increase, evaluated):
    engine, results = Engine(tiny_workload(max_increase=max_increase)), MemoryResults()
    first = run_to_end(engine, TRIAL, results)
    rows, count = results.published("trial"), len(evaluated)
    again = run_to_end(engine, TRIAL, results)
    assert len(evaluated) == count
    assert replace(again.outcome, elapsed_s=0.0) == replace(first.outcome, elapsed_s=0.0)
    assert again.outcome.elapsed_s >= rows[0][-1].elapsed_s > 0.0
    assert results.published("trial") == rows
    assert results.checkpoints == {}


def test_elapsed_time_is_the_injected_clocks_and_goes_on_after_an_interruption(engine):
    clock, results = FakeClock(now=100.0), MemoryResults()
    run = TrialRun(engine, TRIAL, results, clock=clock)
    clock.now = 103.0
    assert run.advance().elapsed_s == 3.0
    clock.now = 105.0
    run.interrupt()
    assert run.outcome.elapsed_s == 5.0

    clock.now = 1000.0
    resumed = TrialRun(engine, TRIAL, results, clock=clock)
    clock.now = 1002.0
    assert resumed.advance().elapsed_s == 7.0
    while resumed.outcome is None:
        resumed.advance()
    assert resumed.outcome.elapsed_s == 7.0


def test_a_diverged_trial_publishes_its_outcome_and_keeps_no_checkpoint(engine):
    results = MemoryResults()
    run = run_to_end(engine, tiny_trial(steps=(0, 3), learning_rate=1e6, weight_decay=1e9, clip_norm=None), results)
    assert run.outcome.status is results.outcomes["trial"].status is Status.DIVERGED
    assert run.outcome.last_step == 0
    assert results.checkpoints == {}


def test_trials_of_one_engine_do_not_mix_their_rows(engine):
    results = MemoryResults()
    run_to_end(engine, tiny_trial(steps=(0, 1), trial_id="a", batch_size=2), results)
    run_to_end(engine, tiny_trial(steps=(0, 1), trial_id="b", batch_size=3), results)
    (_, a), (_, b) = (deterministic(results.published(name)[0]) for name in "ab")
    assert a != b
    assert deterministic(results.published("a")[0])[0] == deterministic(results.published("b")[0])[0]
