"""A trial's life: what is published when, checkpoints, interruption, and going on where it stopped."""

import itertools
import time
from dataclasses import replace

import pytest
from accelerate import Accelerator

from tests.support import (
    FakeClock,
    MemorySink,
    deterministic,
    run_to_end,
    same_state,
    state_of,
    tiny_trial,
    tiny_workload,
)
from trainables.metrics import NonFiniteEvaluationError
from trainables.models import checkpoints
from trainables.records import TIMES, Status
from trainables.trial import Engine, TrialRun
from trainables.trial import engine as engine_module
from trainables.trial.ascent import Ascent
from trainables.trial.trial_run import SLICE_S

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
    steps, real = [], engine_module.evaluate

    def counting(*args, **kwargs):
        steps.append(kwargs["step"])
        return real(*args, **kwargs)

    monkeypatch.setattr(engine_module, "evaluate", counting)
    return steps


def to_next_evaluation(run):
    while (evaluation := run.advance()) is None and run.outcome is None:
        pass
    return evaluation


def publications(results):
    return [content for call, content in results.calls if call == "publish"]


def test_published_rows_only_grow_and_the_outcome_comes_last(engine):
    results = MemorySink()
    run = run_to_end(engine, TRIAL, results)
    steps = [[evaluation.step for evaluation in evaluations] for evaluations, _ in publications(results)]
    assert steps == [[0], [0, 2], [0, 2, 4], [0, 2, 4, 6]]
    assert [outcome for _, outcome in publications(results)] == [None, None, None, run.outcome]
    assert (run.outcome.status, run.outcome.last_step, run.outcome.message) == (Status.COMPLETED, 6, None)
    evaluations, examples = results.published("trial")
    assert [example.step for example in examples] == [step for step in (0, 2, 4, 6) for _ in range(6)]
    assert run.evaluations == evaluations


@pytest.fixture
def saved(monkeypatch):
    """The step of every checkpoint, and the seconds it says."""
    found, real = [], checkpoints.pack

    def noting(model, optimizer, progress, group):
        found.append((progress.step, progress.elapsed_s))
        return real(model, optimizer, progress, group)

    monkeypatch.setattr(checkpoints, "pack", noting)
    return found


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ({"every_s": 0.0}, [1, 2, 3, 4, 5]),
        ({"every_s": 1e9, "every_steps": 1}, [1, 2, 3, 4, 5]),
        ({"every_s": 1e9, "every_steps": 3}, [3]),
        ({"every_s": 1e9, "every_steps": 4}, [4]),
        ({"every_s": 1e9}, []),
    ],
)
def test_a_checkpoint_comes_after_the_steps_asked_for_between_evaluations_too(every, expected, saved):
    run_to_end(Engine(tiny_workload(**every, keep_mib=0)), TRIAL, MemorySink())
    assert [step for step, _ in saved][: len(expected)] == expected
    assert len(saved) == len(expected)


def test_a_checkpoint_comes_after_the_seconds_asked_for(saved):
    clock = FakeClock(tick=1.0)
    run_to_end(Engine(tiny_workload(every_s=6.0, keep_mib=0)), TRIAL, MemorySink(), clock=clock)
    times = [0.0, *(elapsed_s for _, elapsed_s in saved)]
    assert len(times) > 1
    assert all(later - earlier >= 6.0 for earlier, later in itertools.pairwise(times))


def test_a_long_ascent_lets_its_driver_look_up(engine):
    clock = FakeClock(tick=SLICE_S / 2)
    run = TrialRun(Engine(tiny_workload(every_s=1e9)), tiny_trial(steps=(50,)), MemorySink(), clock=clock)
    looks = 0
    while run.advance() is None:
        looks += 1
    assert looks >= 10
    assert run.outcome.status is Status.COMPLETED


def test_the_last_state_of_a_completed_trial_stays_if_it_is_small(engine):
    results = MemorySink()
    run_to_end(engine, TRIAL, results)
    calls = [call for call, _ in results.calls]
    assert calls[-2:] == ["save", "publish"], "the outcome comes last"
    assert "discard" not in calls

    large = MemorySink()
    run_to_end(Engine(tiny_workload(keep_mib=1e-3)), TRIAL, large)
    assert [call for call, _ in large.calls][-2:] == ["publish", "discard"]
    assert large.checkpoints == {}


@pytest.mark.parametrize("keep_mib", [8, 0])
def test_a_longer_axis_goes_on_where_the_trial_ended_and_ends_bit_identical(keep_mib, evaluated, monkeypatch):
    further = replace(TRIAL, steps=(*TRIAL.steps, 7, 9))
    workload = tiny_workload(keep_mib=keep_mib, dropout=0.2)
    uninterrupted, uninterrupted_results = Engine(workload), MemorySink()
    run_to_end(uninterrupted, further, uninterrupted_results)

    engine, results = Engine(workload), MemorySink()
    run_to_end(engine, TRIAL, results)
    evaluated.clear()
    taken = count_steps(monkeypatch)
    run_to_end(engine, further, results)
    assert evaluated == [7, 9]
    assert len(taken) == (3 if keep_mib else 9)
    assert same_state(state_of(engine.model), state_of(uninterrupted.model))
    assert deterministic(results.published("trial")[0]) == deterministic(uninterrupted_results.published("trial")[0])


def count_steps(monkeypatch):
    taken, real = [], Ascent.advance

    def noting(self, to_step):
        taken.append(to_step)
        real(self, to_step)

    monkeypatch.setattr(Ascent, "advance", noting)
    return taken


@pytest.mark.parametrize("damage", ["truncated", "bit flipped in the header", "bit flipped in a weight", "foreign"])
def test_a_damaged_checkpoint_is_named_and_its_trial_ascends_from_the_start(workload, evaluated, damage):
    uninterrupted_results = MemorySink()
    run_to_end(Engine(workload), TRIAL, uninterrupted_results)
    evaluated.clear()
    results = MemorySink()
    run = TrialRun(Engine(workload), TRIAL, results)
    while len(run.evaluations) < 3:
        run.advance()
    payload = bytearray(results.checkpoints["trial"])
    if damage == "truncated":
        del payload[-7:]
    elif damage == "foreign":
        payload[:] = b"PK not a checkpoint"
    else:
        payload[30 if "header" in damage else -1] ^= 0x10
    results.checkpoints["trial"] = bytes(payload)

    again = TrialRun(Engine(workload), TRIAL, results)
    assert "trial trial: its checkpoint is damaged (" in again.warning
    assert results.checkpoints == {}
    while again.outcome is None:
        again.advance()
    assert evaluated == [0, 2, 4, 6]
    for found, expected in zip(results.published("trial"), uninterrupted_results.published("trial"), strict=True):
        assert deterministic(found) == deterministic(expected)


def test_interrupting_leaves_a_checkpoint_and_the_status_stopped(engine):
    results = MemorySink()
    run = TrialRun(engine, TRIAL, results)
    to_next_evaluation(run)
    to_next_evaluation(run)
    run.interrupt()
    assert results.outcomes["trial"].status is Status.STOPPED
    assert results.outcomes["trial"].last_step == 2
    assert list(results.checkpoints) == ["trial"]
    assert [e.step for e in results.published("trial")[0]] == [0, 2]


def test_a_trial_that_is_asked_to_stop_does_so_at_its_next_look(engine):
    results = MemorySink()
    run = TrialRun(engine, TRIAL, results)
    to_next_evaluation(run)
    results.stop = True
    assert run.advance() is None
    assert results.outcomes["trial"].status is Status.STOPPED
    assert list(results.checkpoints) == ["trial"]


def test_interrupting_a_finished_trial_changes_nothing(engine):
    results = MemorySink()
    run = run_to_end(engine, TRIAL, results)
    calls = list(results.calls)
    run.interrupt()
    assert results.calls == calls
    assert run.outcome.status is Status.COMPLETED


def test_interrupting_before_the_first_evaluation_can_be_resumed(engine, evaluated):
    results = MemorySink()
    TrialRun(engine, TRIAL, results).interrupt()
    assert results.outcomes["trial"].last_step == 0
    assert run_to_end(engine, TRIAL, results).outcome.status is Status.COMPLETED
    assert evaluated == [0, 2, 4, 6]


@pytest.mark.parametrize("reuse", [True, False], ids=["same engine", "fresh engine"])
@pytest.mark.parametrize("how", ["interrupted", "killed", "killed, checkpoint lost", "killed before the checkpoint"])
@pytest.mark.parametrize("after", [1, 3])
def test_a_restarted_trial_repeats_no_evaluation_and_ends_bit_identical(workload, evaluated, after, how, reuse):
    uninterrupted, uninterrupted_results = Engine(workload), MemorySink()
    run_to_end(uninterrupted, TRIAL, uninterrupted_results)
    evaluated.clear()

    engine, results = Engine(workload), MemorySink()
    run = TrialRun(engine, TRIAL, results)
    for _ in range(after):
        earlier = results.load_checkpoint("trial")
        to_next_evaluation(run)
    if how == "interrupted":
        run.interrupt()
    elif how == "killed, checkpoint lost":
        results.checkpoints.clear()
    elif how == "killed before the checkpoint":
        results.checkpoints = {"trial": earlier} if earlier else {}
    engine = engine if reuse else Engine(workload)
    if reuse:
        run_to_end(engine, tiny_trial(trial_id="between", seed=1), MemorySink())
        evaluated[:] = [0, 2, 4, 6][:after]
    resumed = run_to_end(engine, TRIAL, results)

    assert evaluated == [0, 2, 4, 6]
    assert resumed.outcome.status is Status.COMPLETED
    assert same_state(state_of(engine.model), state_of(uninterrupted.model))
    for found, expected in zip(results.published("trial"), uninterrupted_results.published("trial"), strict=True):
        assert deterministic(found) == deterministic(expected)


def test_a_checkpoint_beyond_rows_that_were_lost_is_dropped(workload, evaluated):
    uninterrupted = MemorySink()
    run_to_end(Engine(workload), TRIAL, uninterrupted)
    results = MemorySink()
    results.checkpoints = dict(uninterrupted.checkpoints)
    evaluated.clear()
    run = TrialRun(Engine(workload), TRIAL, results)
    assert "its checkpoint is of step 6, and step 0 has no rows; it starts again from the base model" in run.warning
    while run.outcome is None:
        run.advance()
    assert evaluated == [0, 2, 4, 6]
    for found, expected in zip(results.published("trial"), uninterrupted.published("trial"), strict=True):
        assert deterministic(found) == deterministic(expected)


def test_another_axis_evaluates_what_it_adds_and_keeps_the_rows_in_step_order(workload, evaluated):
    results = MemorySink()
    run_to_end(Engine(workload), TRIAL, results)
    evaluated.clear()
    run_to_end(Engine(workload), replace(TRIAL, steps=(0, 3, 5, 8)), results)
    assert evaluated == [3, 5, 8]
    evaluations, examples = results.published("trial")
    assert [e.step for e in evaluations] == [0, 2, 3, 4, 5, 6, 8]
    assert [e.step for e in examples] == [step for step in (0, 2, 3, 4, 5, 6, 8) for _ in range(6)]


def test_examples_whose_evaluation_was_not_published_are_not_published_twice(workload):
    uninterrupted = MemorySink()
    run_to_end(Engine(workload), TRIAL, uninterrupted)
    results = MemorySink()
    run = TrialRun(Engine(workload), TRIAL, results)
    to_next_evaluation(run)
    evaluations, _ = results.published("trial")
    to_next_evaluation(run)
    results.rows["trial"] = (evaluations, results.published("trial")[1])  # killed between the two files
    run_to_end(Engine(workload), TRIAL, results)
    assert deterministic(results.published("trial")[1]) == deterministic(uninterrupted.published("trial")[1])


@pytest.mark.parametrize("max_increase", [3.0, -0.5], ids=["completed", "collapsed"])
def test_restarting_a_finished_trial_evaluates_nothing_and_ends_alike(max_increase, evaluated):
    engine, results = Engine(tiny_workload(max_increase=max_increase)), MemorySink()
    first = run_to_end(engine, TRIAL, results)
    rows, count = results.published("trial"), len(evaluated)
    again = run_to_end(engine, TRIAL, results)
    assert len(evaluated) == count
    assert replace(again.outcome, elapsed_s=0.0) == replace(first.outcome, elapsed_s=0.0)
    assert again.outcome.elapsed_s >= rows[0][-1].elapsed_s
    assert results.published("trial") == rows
    assert list(results.checkpoints) == ([] if first.outcome.status is Status.COLLAPSED else ["trial"])


def test_elapsed_time_is_the_injected_clocks_and_goes_on_after_an_interruption(engine):
    clock, results = FakeClock(now=100.0), MemorySink()
    run = TrialRun(engine, TRIAL, results, clock=clock)
    clock.now = 103.0
    assert run.advance().elapsed_s == 0.0, "the base model is no work of the trial's"
    clock.now = 104.0
    assert to_next_evaluation(run).elapsed_s == 4.0
    clock.now = 105.0
    run.interrupt()
    assert run.outcome.elapsed_s == 5.0

    clock.now = 1000.0
    resumed = TrialRun(engine, TRIAL, results, clock=clock)
    clock.now = 1002.0
    assert to_next_evaluation(resumed).elapsed_s == 7.0
    while resumed.outcome is None:
        resumed.advance()
    assert resumed.outcome.elapsed_s == 7.0


def test_the_times_of_a_trial_are_all_of_its_work_and_go_on_after_an_interruption(engine):
    results, began = MemorySink(), time.perf_counter()
    run = TrialRun(engine, TRIAL, results)
    while run.step < 3:
        to_next_evaluation(run)
    run.interrupt()
    before = run.outcome.times
    assert list(before) == list(TIMES)
    assert all(seconds > 0 for seconds in before.values())
    resumed = run_to_end(engine, TRIAL, results)
    after = resumed.outcome.times
    assert all(after[name] > before[name] for name in TIMES if name != "commit_s")
    assert sum(after.values()) <= time.perf_counter() - began
    assert sum(after.values()) > 0.5 * (time.perf_counter() - began), "hardly anything is not counted"


OFF_AXIS = replace(TRIAL, steps=(2, 4, 6))


def test_a_trial_has_the_row_of_the_base_model_whatever_its_axis(workload):
    uninterrupted, results = MemorySink(), MemorySink()
    run_to_end(Engine(workload), TRIAL, uninterrupted)
    run = run_to_end(Engine(workload), OFF_AXIS, results)
    for found, expected in zip(results.published("trial"), uninterrupted.published("trial"), strict=True):
        assert deterministic(found) == deterministic(expected)
    base = results.published("trial")[0][0]
    assert (base.step, base.tokens_seen, base.elapsed_s, base.status) == (0, 0, 0.0, Status.COMPLETED)
    steps = [[evaluation.step for evaluation in evaluations] for evaluations, _ in publications(results)]
    assert steps == [[0, 2], [0, 2, 4], [0, 2, 4, 6]], "it comes with the first evaluation"
    assert run.outcome.last_step == 6


def test_whoever_drives_is_told_of_step_0_only_where_the_axis_has_it(workload):
    told = {}
    for trial in (TRIAL, OFF_AXIS):
        run = TrialRun(Engine(workload), trial, MemorySink())
        told[trial.steps] = []
        while run.outcome is None:
            evaluation = run.advance()
            told[trial.steps] += [] if evaluation is None else [evaluation.step]
    assert told == {steps: list(steps) for steps in (TRIAL.steps, OFF_AXIS.steps)}


def test_the_base_model_is_evaluated_once_for_all_trials_of_an_engine(engine, evaluated):
    results = MemorySink()
    for trial_id in "abc":
        run_to_end(engine, replace(OFF_AXIS, trial_id=trial_id), results)
    run_to_end(engine, replace(TRIAL, trial_id="d", config=tiny_trial(objective="task_vector").config), results)
    assert evaluated == [0] + [2, 4, 6] * 4
    bases = [results.published(trial_id)[0][0] for trial_id in "abcd"]
    assert bases == bases[:1] * 4


@pytest.mark.parametrize("objective", ["gradient_ascent", "task_vector", "npo"])
def test_the_base_model_reads_the_same_whatever_ascends(workload, objective):
    trial = replace(TRIAL, config=tiny_trial(objective=objective).config)
    engine = Engine(workload)
    engine.start(trial)
    evaluation, examples = engine.evaluate_base("forget")
    run = TrialRun(Engine(workload), trial, MemorySink())
    run._base = None  # it is evaluated as any other step is
    assert deterministic([run.advance()]) == deterministic([evaluation])
    assert {example.step for example in examples} == {0}


def test_the_row_of_the_base_model_is_of_the_base_model_in_a_trial_that_goes_on(workload, evaluated):
    """A trial of before there was such a row, or one that was killed between a checkpoint and its first evaluation."""
    uninterrupted, results = MemorySink(), MemorySink()
    run_to_end(Engine(workload), OFF_AXIS, uninterrupted)
    run = TrialRun(Engine(workload), OFF_AXIS, results)
    to_next_evaluation(run)
    run.interrupt()
    evaluations, examples = results.published("trial")
    results.rows["trial"] = (evaluations[1:], [example for example in examples if example.step])
    evaluated.clear()
    run_to_end(Engine(workload), OFF_AXIS, results)
    assert evaluated == [0, 4, 6]
    for found, expected in zip(results.published("trial"), uninterrupted.published("trial"), strict=True):
        assert deterministic(found) == deterministic(expected)
    evaluated.clear()
    run_to_end(Engine(workload), OFF_AXIS, results)
    assert evaluated == [], "it is there"


def test_a_trial_that_stops_or_diverges_before_its_first_evaluation_has_the_row_too(workload):
    stopped, diverged = MemorySink(), MemorySink()
    run = TrialRun(Engine(workload), OFF_AXIS, stopped)
    run.interrupt()
    explosive = replace(OFF_AXIS, config=tiny_trial(learning_rate=1e6, weight_decay=1e9, clip_norm=None).config)
    outcome = run_to_end(Engine(workload), explosive, diverged).outcome
    assert (outcome.status, outcome.last_step) == (Status.DIVERGED, 0)
    for results in (stopped, diverged):
        assert [evaluation.step for evaluation in results.published("trial")[0]] == [0]
    run_to_end(Engine(workload), OFF_AXIS, stopped)
    assert [evaluation.step for evaluation in stopped.published("trial")[0]] == [0, 2, 4, 6]


def test_a_base_model_that_is_not_finite_has_no_row_and_ends_the_trial_only_at_its_own_step(workload, monkeypatch):
    def evaluate(*args, step, **options):
        if step == 0:
            raise NonFiniteEvaluationError("step 0: a log-likelihood is not finite")
        return real(*args, step=step, **options)

    real = engine_module.evaluate
    monkeypatch.setattr(engine_module, "evaluate", evaluate)
    results = MemorySink()
    run_to_end(Engine(workload), OFF_AXIS, results)
    assert [evaluation.step for evaluation in results.published("trial")[0]] == [2, 4, 6]
    assert run_to_end(Engine(workload), TRIAL, MemorySink()).outcome.status is Status.DIVERGED


def test_a_diverged_trial_publishes_its_outcome_and_keeps_no_checkpoint(engine):
    results = MemorySink()
    run = run_to_end(engine, tiny_trial(steps=(0, 3), learning_rate=1e6, weight_decay=1e9, clip_norm=None), results)
    assert run.outcome.status is results.outcomes["trial"].status is Status.DIVERGED
    assert run.outcome.last_step == 0
    assert results.checkpoints == {}


def test_trials_of_one_engine_do_not_mix_their_rows(engine):
    results = MemorySink()
    run_to_end(engine, tiny_trial(steps=(0, 1), trial_id="a", batch_size=2), results)
    run_to_end(engine, tiny_trial(steps=(0, 1), trial_id="b", batch_size=3), results)
    (_, a), (_, b) = (deterministic(results.published(name)[0]) for name in "ab")
    assert a != b
    assert deterministic(results.published("a")[0])[0] == deterministic(results.published("b")[0])[0]


@pytest.mark.parametrize("use_gpu", [True, False])
def test_a_trial_that_has_no_gpu_leaves_the_machines_alone(monkeypatch, use_gpu):
    asked = {}
    monkeypatch.setattr(
        "trainables.distributed.parallel.Accelerator", lambda **options: asked.update(options) or Accelerator()
    )
    Engine(replace(tiny_workload(), use_gpu=use_gpu))
    assert asked["cpu"] is not use_gpu
