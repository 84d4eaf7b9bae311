"""The profiler's trace of a trial."""

import gzip
import json
from dataclasses import replace

import pytest

from tests.support import MemorySink, deterministic, run_to_end, tiny_trial, tiny_workload
from trainables.records import Status
from trainables.trial import Engine, TrialRun, trial_run

TRIAL = tiny_trial(steps=(0, 2, 4), learning_rate=0.01, batch_size=4)
PROFILED = replace(TRIAL, is_profiled=True)


@pytest.fixture
def engine():
    return Engine(tiny_workload(dropout=0.2))


def names(results):
    (trace,) = results.traces.values()
    return [event.get("name") for event in json.loads(gzip.decompress(trace))["traceEvents"]]


def test_a_profiled_trial_has_the_same_rows_and_a_trace_with_the_parts_of_its_time(engine):
    plain, results = MemorySink(), MemorySink()
    run_to_end(engine, TRIAL, plain)
    run_to_end(engine, PROFILED, results)
    for own, others in zip(results.published("trial"), plain.published("trial"), strict=True):
        assert deterministic(own) == deterministic(others)
    assert not plain.traces
    found = names(results)
    assert (found.count("step"), found.count("evaluate")) == (4, 2)
    assert "aten::mm" in found


def test_a_long_trial_is_recorded_for_so_many_steps_alone(engine, monkeypatch):
    monkeypatch.setattr(trial_run, "TRACED_STEPS", 2)
    results = MemorySink()
    run_to_end(engine, PROFILED, results)
    assert names(results).count("step") == 2


def test_an_interrupted_trial_keeps_what_was_recorded(engine):
    results = MemorySink()
    run = TrialRun(engine, PROFILED, results)
    while not run.step:
        run.advance()
    run.interrupt()
    assert run.outcome.status is Status.STOPPED
    assert names(results).count("step") == run.step


def test_a_trial_that_fails_leaves_no_profiler_running(engine, monkeypatch):
    results = MemorySink()
    run = TrialRun(engine, PROFILED, results)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "evaluate", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            while run.outcome is None:
                run.advance()
    assert not results.traces
    another = MemorySink()
    run_to_end(engine, PROFILED, another)
    assert names(another).count("step") == 4
