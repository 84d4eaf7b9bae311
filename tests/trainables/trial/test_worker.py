"""An exception of a trial as plain data, and a worker that reports it like anything else."""

import gc
import pickle
import weakref
from dataclasses import asdict, replace

import pytest
import torch

from tests.support import MemorySink, deterministic, run_to_end, tiny_trial, tiny_workload
from trainables.errors import ResultsError, UnlearningError
from trainables.failures import LONGEST_MESSAGE, LONGEST_TRACEBACK, Failure, TrialFailedError, failure_of
from trainables.trial import FAILURE, OUTCOME, STORAGE_ERROR, Engine, TrialWorker, is_last
from trainables.trial import worker as worker_module
from trainables.trial.ascent import Ascent


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_failure_is_one_line_and_the_traceback():
    failure = failure_of(raised(OSError("no room\nfor anything")), step=3)
    assert (failure.kind, failure.message, failure.step) == ("OSError", "OSError: no room", 3)
    assert failure.details.startswith("Traceback")
    assert failure.details.rstrip().endswith("for anything")
    assert failure_of(KeyError()).message == "KeyError"
    assert failure_of(UnlearningError("no")).is_users
    assert not failure.is_users
    assert Failure(**asdict(failure)) == failure


def test_a_traceback_is_without_the_frames_that_ray_puts_around_a_method():
    wrapped = compile("def call(method):\n    return method()\n", "/x/ray/util/tracing/tracing_helper.py", "exec")
    namespace = {}
    exec(wrapped, namespace)

    def method():
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("then") from error

    with pytest.raises(ValueError, match="then") as caught:
        namespace["call"](method)
    details = failure_of(caught.value).details
    assert "tracing_helper" not in details
    assert details.count("in method") == 2
    assert "KeyError: 'first'" in details


def test_a_failure_is_of_a_bounded_size():
    failure = failure_of(raised(ValueError("x" * 10 * LONGEST_TRACEBACK)))
    assert len(failure.message) < LONGEST_MESSAGE + 50
    assert len(failure.details) < LONGEST_TRACEBACK + 100
    assert "characters left out" in failure.details


def test_a_full_gpu_is_told_with_what_to_lower():
    said = (
        "CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has a total capacity of 79 GiB of which 1 MiB is free."
    )
    failure = failure_of(torch.OutOfMemoryError(said), trial=tiny_trial(micro_batch_size=2))
    assert failure.message.startswith("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB; lower")
    assert "micro_batch_size in search.space (now 2 " in failure.message
    assert "evaluation.batch_size" in failure.message


def test_a_failure_travels_in_an_exception():
    failure = failure_of(ValueError("x"))
    assert pickle.loads(pickle.dumps(TrialFailedError(failure))).failure == failure


@pytest.fixture
def sink():
    return MemorySink()


@pytest.fixture
def worker(sink):
    made = TrialWorker(lambda _: tiny_workload(every_s=1e9), sink)
    made.take(tiny_trial(steps=(0, 2, 4)))
    return made


def break_from_step(monkeypatch, step, error):
    whole = Ascent.advance

    def advance(self, to):
        if to >= step:
            raise error
        whole(self, to)

    monkeypatch.setattr(Ascent, "advance", advance)


def run(worker):
    reports = []
    while not reports or not is_last(reports[-1]):
        reports.append(worker.next_report())
    return reports


def test_an_exception_is_told_with_its_step_and_the_worker_takes_the_next_trial(worker, sink, monkeypatch):
    with monkeypatch.context() as patch:
        break_from_step(patch, 4, ValueError("of the objective"))
        last = run(worker)[-1]
    assert OUTCOME not in last
    failure = Failure(**last[FAILURE])
    assert (failure.message, failure.step) == ("ValueError: of the objective", 3)
    assert "in advance" in failure.details
    calls = len(sink.calls)
    worker.stop()
    assert len(sink.calls) == calls, "a trial that failed saves nothing of where it broke"
    worker.take(tiny_trial(steps=(0, 2), trial_id="next"))
    assert run(worker)[-1][OUTCOME] == "completed"


def test_an_exception_before_the_first_step_is_told_too(worker, monkeypatch):
    def broken(_, **__):
        raise FileNotFoundError("retain.parquet")

    monkeypatch.setattr(worker_module, "_engine", broken)
    (only,) = run(worker)
    assert only[FAILURE]["message"] == "FileNotFoundError: retain.parquet"
    assert only[FAILURE]["step"] is None


def test_a_process_that_cuda_has_broken_is_left_and_says_why(worker, monkeypatch):
    break_from_step(monkeypatch, 1, RuntimeError("CUDA error: device-side assert triggered\nand more"))
    worker.next_report()
    with pytest.raises(TrialFailedError, match=r"CUDA error: device-side assert triggered$") as left:
        run(worker)
    assert left.value.failure.step == 0


def test_a_storage_that_fails_is_no_failure_of_the_trial(worker, monkeypatch):
    break_from_step(monkeypatch, 1, ResultsError("no room"))
    assert run(worker)[-1] == {STORAGE_ERROR: "no room"}


def test_trials_of_replicates_run_on_the_base_model_of_each_and_one_is_resident_at_a_time(sink):
    workloads = [tiny_workload(every_s=1e9), tiny_workload(every_s=1e9, forget=5)]
    asked, resident = [], weakref.WeakSet()

    def workload_of(replicate):
        gc.collect()
        assert not resident, "the engine before is gone"
        asked.append(replicate)
        return workloads[replicate]

    made = TrialWorker(workload_of, sink)
    for name, replicate in (("a", 0), ("b", 1), ("c", 1), ("d", 0)):
        made.take(replace(tiny_trial(trial_id=name, batch_size=2), replicate=replicate))
        run(made)
        resident.add(made._engine)
    assert asked == [0, 1, 0]
    for name, replicate in (("a", 0), ("c", 1), ("d", 0)):
        alone, trial = MemorySink(), replace(tiny_trial(trial_id=name, batch_size=2), replicate=replicate)
        run_to_end(Engine(workloads[replicate]), trial, alone)
        assert deterministic(sink.rows[name][0]) == deterministic(alone.rows[name][0]), "the numbers of a fresh process"
    assert deterministic(sink.rows["a"][0]) != deterministic(sink.rows["b"][0])


def test_batches_come_in_another_order_in_each_replicate():
    seeds = [replace(tiny_trial(seed=7), replicate=replicate).ascent_seed for replicate in range(3)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
