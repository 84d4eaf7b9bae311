"""The executor of one process: what it refuses, how it interleaves, stops and fails."""

import json
import subprocess
import sys

import pytest

from orchestrator.cli import app as cli
from orchestrator.driver import Interrupt
from orchestrator.errors import RunStoppedError, SweepError, SweepInterruptedError, TaskFailedError
from orchestrator.ledger import TrialWriter
from orchestrator.preparation import ModelTask, SweepInputs
from orchestrator.run.executors import inline
from orchestrator.run.executors.inline import InlineExecutor
from orchestrator.run.executors.protocol import Models
from orchestrator.run.failures import Failures
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import HeldLease, InventingWorker, SilentEvents, make_search, make_spec, memory_ledger
from trainables.failures import TrialFailedError, failure_of
from trainables.preparation import TrainingState
from trainables.records import Status

REFUSED = {
    "resources.workers_per_trial: 2": {"workers_per_trial": 2},
    "resources.concurrent_trials: auto": {"concurrent_trials": "auto"},
    "resources.gpus_per_trial: 0.5": {"gpus_per_trial": 0.5},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_takes_more_than_one_process_is_refused_by_name(said):
    executor = InlineExecutor(Interrupt())
    with pytest.raises(SweepError, match="runs one trial at a time") as refused:
        executor.require_able(make_spec(resources=REFUSED[said]).resources, workers=3)
    assert said in str(refused.value)
    assert "--workers 3" in str(refused.value)
    assert "leave --executor out" in str(refused.value)
    executor.require_able(make_spec(resources={"concurrent_trials": 4}).resources, workers=1)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    executor = InlineExecutor(Interrupt())
    with pytest.raises(SweepError, match=r"resources\.gpus_per_trial: 1, and PyTorch sees no GPU"):
        executor.trials_at_once(make_spec(resources={"gpus_per_trial": 1}).resources, asked=None)
    assert executor.trials_at_once(make_spec().resources, asked=None) == 1


def test_the_command_refuses_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, said in (
        (["run", "--executor", "inline", "--workers", "2"], "--workers 2"),
        (["resume", "demo", "--executor", "inline", "--address", "http://127.0.0.1:1"], "--address names a cluster"),
    ):
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def loop_of(interrupt, *, trials=2, **search):
    spec, ledger = make_spec(search={"trials": trials, **search}), memory_ledger()
    searched = make_search(spec, ledger, concurrent_trials=4)
    lease, events = HeldLease(), SilentEvents()
    return TrialLoop(searched, Failures(ledger), events, interrupt, lease, resources=spec.resources), ledger, lease


def run(loop, ledger, interrupt, make_worker=InventingWorker, concurrent=1):
    executor = InlineExecutor(interrupt, make_worker=make_worker)
    spec = make_spec()
    executor.run_trials(
        loop,
        workloads=[None],
        sink=TrialWriter(ledger),
        name="s",
        resources=spec.resources,
        concurrent=concurrent,
    )


def test_several_trials_at_once_take_turns_by_slices():
    taken = []

    class Noting(InventingWorker):
        def next_report(self):
            taken.append(self._trial.trial_id)
            return super().next_report()

    interrupt = Interrupt()
    loop, ledger, _ = loop_of(interrupt)
    run(loop, ledger, interrupt, Noting, concurrent=2)
    assert taken[0] == taken[2] != taken[1] == taken[3]
    assert all(row["status"] in ("completed", "collapsed", "diverged") for row in ledger.trials())


def test_a_signal_asks_the_running_trial_to_stop_and_waits_until_it_has():
    interrupt = Interrupt()
    loop, ledger, lease = loop_of(interrupt)

    class Stops(InventingWorker):
        def next_report(self):
            if lease.asked:
                return self.stopped()
            interrupt.stop(SweepInterruptedError(2))
            return super().next_report()

    run(loop, ledger, interrupt, Stops)
    assert lease.asked == 1
    (row,) = ledger.trials()
    assert row["status"] == Status.STOPPED
    assert loop.is_over


def test_where_nothing_can_be_saved_the_trial_is_left_and_the_loop_ends():
    interrupt, left = Interrupt(), []

    class Leaves(InventingWorker):
        def next_report(self):
            interrupt.stop(RunStoppedError("taken over"))
            return super().next_report()

        def stop(self):
            left.append(self._trial.trial_id)

    loop, ledger, lease = loop_of(interrupt)
    run(loop, ledger, interrupt, Leaves)
    assert len(left) == 1
    assert lease.asked == 0


def test_a_process_that_is_of_no_further_use_ends_the_run_and_the_failure_is_kept():
    interrupt = Interrupt()
    loop, ledger, _ = loop_of(interrupt)

    class Broken(InventingWorker):
        def next_report(self):
            raise TrialFailedError(failure_of(RuntimeError("CUDA error: device-side assert"), step=1))

    run(loop, ledger, interrupt, Broken)
    assert "can run no further trial after it: resume" in str(interrupt.reason)
    (row,) = ledger.trials()
    assert "CUDA error" in ledger.log(row["trial_id"])


def models(tmp_path, *roles):
    tasks = [task_of(role) for role in roles]
    inputs = SweepInputs(spec=make_spec(), datasets=None, tasks=tasks, workload_hash="workload")
    return Models(replicates=[inputs], root=LocalStorage(tmp_path), ledger=memory_ledger(), flops=None)


def task_of(role):
    return ModelTask(role=role, seed=0, key=f"key-of-{role}")


def test_a_signal_ends_a_training_where_it_tells_how_far_it_is(tmp_path, monkeypatch):
    interrupt, told = Interrupt(), []
    state = TrainingState(step=1, steps=8, epochs=2, loss=2.5, left_s=None)

    def train(spec, datasets, task, cache, ledger, *, tokens):
        cache.record_training_state(task.key, state)
        interrupt.stop(SweepInterruptedError(2))
        cache.record_training_state(task.key, state)

    monkeypatch.setattr(inline, "_train_model", train)
    events = SilentEvents()
    events.training = told.append
    with pytest.raises(SweepInterruptedError):
        InlineExecutor(interrupt).train_models(models(tmp_path, "base"), events)
    assert told == [{"base": state}] * 2


def test_an_exception_of_the_preparation_is_one_line_and_its_traceback_is_for_the_log(tmp_path, monkeypatch):
    def train(*_, **__):
        raise KeyError("loss")

    monkeypatch.setattr(inline, "_train_model", train)
    with pytest.raises(TaskFailedError, match=r"training model 'base' failed: KeyError: 'loss'") as failed:
        InlineExecutor(Interrupt()).train_models(models(tmp_path, "base"), SilentEvents())
    assert "in train" in failed.value.details


def test_the_loop_and_this_executor_load_no_ray():
    code = (
        "import json, sys; import orchestrator.run.runner, orchestrator.run.executors.inline; "
        "from trainables.trial import TrialWorker; print(json.dumps('ray' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
