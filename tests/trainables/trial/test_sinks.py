"""Rows and checkpoints are written while the trial goes on, and nothing else changes by it."""

import threading
from dataclasses import replace

import pytest

from tests.limits import HANG_S
from tests.support import MemorySink, deterministic, run_to_end, tiny_trial, tiny_workload
from trainables.config import HalvingConfig, StopConfig
from trainables.errors import ResultsError
from trainables.records import Status
from trainables.trial import Engine, TrialRun
from trainables.trial.ascent import Ascent

TRIAL = tiny_trial(steps=(0, 3, 6), optimizer="adamw", learning_rate=0.01, batch_size=4)


class WaitingSink(MemorySink):
    """A sink that writes only once the trial has taken so many steps."""

    def __init__(self, taken, *, steps):
        super().__init__()
        self._taken = taken
        self._steps = dict(steps)
        """By call and how many of its kind came before: the steps that it waits for."""
        self._counts = {}

    def _wait(self, call):
        count = self._counts[call] = self._counts.get(call, -1) + 1
        if (call, count) in self._steps:
            self._taken.wait_for_step(self._steps[call, count])

    def publish(self, *rows):
        self._wait("publish")
        super().publish(*rows)

    def save_checkpoint(self, *state):
        self._wait("save")
        super().save_checkpoint(*state)


class Taken:
    """The steps that trials take."""

    def __init__(self, monkeypatch):
        self._another = threading.Condition()
        self.steps = []
        self.error = {}
        """What a step raises, by its number."""
        real = Ascent.advance

        def noting(ascent, to_step):
            if to_step in self.error:
                raise self.error[to_step]
            real(ascent, to_step)
            with self._another:
                self.steps.append(to_step)
                self._another.notify_all()

        monkeypatch.setattr(Ascent, "advance", noting)

    def wait_for_step(self, step):
        with self._another:
            assert self._another.wait_for(lambda: step in self.steps, HANG_S), "no step was taken meanwhile"


@pytest.fixture
def taken(monkeypatch):
    return Taken(monkeypatch)


@pytest.fixture(scope="module")
def workload():
    return tiny_workload(dropout=0.2, every_s=1e9)


def rows(sink):
    evaluations, examples = sink.published("trial")
    return deterministic(evaluations), deterministic(examples)


@pytest.fixture(scope="module")
def plain(workload):
    """The rows of the trial that nothing is waited for."""
    sink = MemorySink()
    run_to_end(Engine(workload), TRIAL, sink)
    return rows(sink)


def test_steps_are_taken_while_rows_are_written_and_a_row_is_told_once_it_is_there(workload, taken, plain):
    sink = WaitingSink(taken, steps={("publish", 0): 3, ("publish", 1): 5})
    run, told = TrialRun(Engine(workload), TRIAL, sink), []
    while run.outcome is None:
        if (evaluation := run.advance()) is not None:
            assert [row.step for row in sink.published("trial")[0]][-1] == evaluation.step
            told.append((evaluation.step, run.step))
    assert told[0] == (0, 3), "no step is taken beyond the next evaluation"
    assert told[1][0] == 3
    assert told[1][1] >= 5
    assert rows(sink) == plain
    assert taken.steps == [1, 2, 3, 4, 5, 6]


def test_steps_are_taken_while_a_checkpoint_is_written(taken, plain):
    sink = WaitingSink(taken, steps={("save", 0): 3})
    run_to_end(Engine(tiny_workload(dropout=0.2, every_s=1e9, every_steps=2, keep_mib=0)), TRIAL, sink)
    assert rows(sink) == plain
    assert taken.steps == [1, 2, 3, 4, 5, 6]


def test_what_could_not_be_written_is_raised_where_it_was_waited_for_and_the_trial_goes_on_later(workload, plain):
    class Full(MemorySink):
        is_full = True

        def publish(self, trial_id, evaluations, *rest):
            if self.is_full and evaluations[-1].step == 3:
                raise ResultsError("no room")
            super().publish(trial_id, evaluations, *rest)

    sink = Full()
    run = TrialRun(Engine(workload), TRIAL, sink)
    assert run.advance().step == 0
    with pytest.raises(ResultsError, match="no room"):
        while True:
            run.advance()
    assert [row.step for row in sink.published("trial")[0]] == [0]
    sink.is_full = False
    run_to_end(Engine(workload), TRIAL, sink)
    assert rows(sink) == plain


def test_a_step_that_diverges_meanwhile_ends_the_trial_after_the_row_is_told(workload, taken, monkeypatch):
    real = Ascent._loss

    def broken(ascent, step, micro_batch):
        return real(ascent, step, micro_batch) * (float("nan") if ascent.step == 4 else 1.0)

    monkeypatch.setattr(Ascent, "_loss", broken)
    sink = WaitingSink(taken, steps={("publish", 1): 4})
    run, told = TrialRun(Engine(workload), TRIAL, sink), []
    while run.outcome is None:
        told.append(run.advance())
    assert [row.step for row in told if row is not None] == [0, 3]
    assert (run.outcome.status, run.outcome.last_step) == (Status.DIVERGED, 3)
    assert run.outcome.message == "step 5: the loss is nan"


def test_an_exception_meanwhile_waits_for_what_is_being_written(workload, taken):
    taken.error = {5: RuntimeError("broken")}
    sink = WaitingSink(taken, steps={("publish", 1): 4})
    run = TrialRun(Engine(workload), TRIAL, sink)
    with pytest.raises(RuntimeError, match="broken"):
        while True:
            run.advance()
    assert [row.step for row in sink.published("trial")[0]] == [0, 3]


def test_no_step_is_taken_beyond_a_rung_before_the_trial_is_judged(workload, taken):
    judged = replace(workload, stop=StopConfig(halving=HalvingConfig(rungs=(3,))))
    run = TrialRun(Engine(judged), TRIAL, MemorySink())
    while run.rung is None:
        run.advance()
    assert taken.steps == [1, 2, 3]


def test_a_trial_that_stops_takes_no_step_more(workload, taken):
    sink = MemorySink()
    run = TrialRun(Engine(workload), TRIAL, sink)
    run.advance()
    before = list(taken.steps)
    sink.stop = True
    run.advance()
    assert run.outcome.status is Status.STOPPED
    assert taken.steps == before
