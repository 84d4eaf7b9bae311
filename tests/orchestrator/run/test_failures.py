"""Why trials fail: kept in the sweep, told in a line, not tried again in vain, and a run that fails alike stops."""

import pickle
import sys
from dataclasses import asdict

import pytest
import ray

from orchestrator.cli import app as cli
from orchestrator.driver import Interrupt
from orchestrator.errors import TaskFailedError, TrialsFailAlikeError
from orchestrator.ledger import PREPARATION, DriverWriter
from orchestrator.ledger.failed_tasks import log_failed_task
from orchestrator.resources import fetch
from orchestrator.run import failures_described
from orchestrator.run.failures import ALIKE, WORKER_DIED, Failures, dead_worker
from orchestrator.run.trial_loop import TrialLoop
from tests.orchestrator.helpers import evaluation_record, make_search, make_spec, memory_ledger, told, write_sweep
from trainables.failures import Failure
from trainables.records import Status
from trainables.trial import EVALUATION, FAILURE, OUTCOME

KILLED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: AscentTrainable\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: killed"
)


def failure(message="no such file", *, kind="FileNotFoundError", step=3, **changes):
    given = {"kind": kind, "message": f"{kind}: {message}", "details": "Traceback\n  of\n  the worker", "step": step}
    return Failure(**{**given, **changes})


class Events:
    """Keeps what is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda **given: self.told.append((name, given))

    def named(self, name):
        return [given for told_name, given in self.told if told_name == name]


class Run:
    """Trials that are handed out and fail as a test says, as an executor would report of them."""

    def __init__(self, trials=6, concurrent=1, *, profile=False, **resources):
        self.ledger = memory_ledger()
        self.spec = make_spec(search={"trials": trials}, resources={"max_failures": 2, **resources})
        search = make_search(self.spec, self.ledger, concurrent_trials=concurrent)
        self.events, self.interrupt = Events(), Interrupt()
        self.failures = Failures(self.ledger)
        self.loop = TrialLoop(
            search, self.failures, self.events, self.interrupt, None, resources=self.spec.resources, profile=profile
        )

    def next(self):
        assignment = self.loop.next_trial()
        return assignment, assignment.trial.trial_id

    def fail(self, assignment, one):
        report = {FAILURE: asdict(one)}
        self.loop.heard(assignment, report)
        self.loop.ended(assignment, report)

    def row(self, trial_id):
        return self.ledger.trial(trial_id)


def test_the_first_trial_of_a_run_is_profiled_and_again_where_it_is_tried_again():
    run = Run(concurrent=2, profile=True)
    (first, _), (second, _) = run.next(), run.next()
    assert (first.trial.is_profiled, second.trial.is_profiled) == (True, False)
    assert run.loop.running == [first.trial.trial_id, second.trial.trial_id]
    run.fail(first, failure())
    again, _ = run.next()
    assert again.trial == first.trial
    assert not any(Run().next()[0].trial.is_profiled for _ in range(2))


def test_the_same_exception_at_the_same_step_is_tried_once_more_and_then_the_trial_has_failed():
    run = Run()
    assignment, trial_id = run.next()
    run.fail(assignment, failure())
    assert run.row(trial_id)["status"] is None
    again, same = run.next()
    assert same == trial_id
    run.fail(again, failure())
    row = run.row(trial_id)
    assert (row["status"], row["message"]) == ("failed", "FileNotFoundError: no such file")
    assert [given["message"] for given in run.events.named("trial_retried")] == ["FileNotFoundError: no such file"]
    assert [given["trial_id"] for given in run.events.named("trial_failed")] == [trial_id]
    assert run.ledger.log(trial_id).count("Traceback\n  of\n  the worker") == 2, "of both tries"
    assert "after step 3" in run.ledger.log(trial_id)


def test_a_mistake_of_the_users_is_not_tried_again():
    run = Run()
    assignment, trial_id = run.next()
    run.fail(assignment, failure(is_users=True))
    assert run.row(trial_id)["status"] == "failed"
    assert not run.events.named("trial_retried")


@pytest.mark.parametrize("others", [{"step": 4}, {"kind": "OSError"}])
def test_another_exception_or_another_step_is_tried_again_as_often_as_any_failure(others):
    run = Run()
    for one in (failure(), failure(**others)):
        assignment, trial_id = run.next()
        run.fail(assignment, one)
        assert run.row(trial_id)["status"] is None
    assignment, again = run.next()
    assert again == trial_id
    run.fail(assignment, failure())
    assert run.row(trial_id)["status"] == "failed", "more than max_failures"


def test_a_worker_that_dies_is_replaced_as_often_as_allowed_and_what_ray_says_of_it_is_kept():
    run = Run()
    for _ in range(3):
        assignment, trial_id = run.next()
        assert run.row(trial_id)["status"] is None
        run.loop.failed(assignment, dead_worker(KILLED))
    row = run.row(trial_id)
    assert row["status"] == "failed"
    assert row["message"].startswith(f"{WORKER_DIED}: The actor is dead because")
    assert "\n" not in row["message"]
    assert run.ledger.log(trial_id).count(KILLED) == 3


def test_a_trial_that_fails_while_the_run_stops_goes_on_later_and_its_log_is_kept():
    run = Run()
    assignment, trial_id = run.next()
    run.interrupt.stop(KeyboardInterrupt())
    run.fail(assignment, failure(is_users=True))
    assert run.row(trial_id)["status"] is None
    assert "FileNotFoundError" in run.ledger.log(trial_id)
    assert not run.loop.running


def test_what_a_task_of_the_preparation_raised_is_one_line_and_the_rest_is_in_the_log():
    ledger = memory_ledger()
    error = TaskFailedError(
        "training model 'base' failed: OSError: s3://AKIA:wJalr@b/a", "Traceback\n  of Ray's worker"
    )
    said = str(log_failed_task(ledger, error, PREPARATION))
    assert said.splitlines() == [
        "training model 'base' failed: OSError: s3://***@b/a",
        f"the whole of it: unlearn-sweep logs {ledger.storage.uri} --trial preparation",
    ]
    assert "Traceback\n  of Ray's worker" in ledger.log("preparation")
    assert "wJalr" not in ledger.log("preparation")


def test_a_task_that_raises_is_told_by_its_first_line(monkeypatch):
    def raises(_):
        cause = KeyError("loss")
        raise ray.exceptions.RayTaskError("train_model", "line\n" * 70, cause)

    monkeypatch.setattr(ray, "get", raises)
    with pytest.raises(TaskFailedError) as failed:
        fetch(None, "training model 'base'")
    assert str(failed.value) == "training model 'base' failed: KeyError: 'loss'"
    assert failed.value.details.count("line") >= 70
    assert pickle.loads(pickle.dumps(failed.value)).details == failed.value.details


def test_a_task_whose_own_workers_failed_is_told_with_their_traceback(monkeypatch):
    def raises(_):
        cause = TaskFailedError("KeyError: 'loss'", "the traceback of a worker")
        raise ray.exceptions.RayTaskError("train_in_group", "of the task", cause)

    monkeypatch.setattr(ray, "get", raises)
    with pytest.raises(TaskFailedError, match=r"^training model 'base' failed: KeyError: 'loss'$") as failed:
        fetch(None, "training model 'base'")
    assert failed.value.details == "the traceback of a worker"


def test_no_key_of_a_uri_is_written_down():
    run = Run()
    assignment, trial_id = run.next()
    uri = "s3://AKIA:wJalr@bucket/a"
    run.fail(assignment, failure(uri, details=f"Traceback {uri}", is_users=True))
    for text in (run.row(trial_id)["message"], run.ledger.log(trial_id), str(run.events.told)):
        assert "wJalr" not in text
        assert "***" in text


def fail_for_good(run, assignment, **how):
    run.fail(assignment, failure(is_users=True, **how))


def test_a_run_whose_first_trials_fail_alike_stops_and_says_why():
    run = Run()
    for count in range(ALIKE):
        assert run.interrupt.reason is None, count
        assignment, trial_id = run.next()
        run.loop.heard(assignment, {EVALUATION: told(evaluation_record(0))})  # of the base model
        fail_for_good(run, assignment, step=count)
    reason = run.interrupt.reason
    assert isinstance(reason, TrialsFailAlikeError)
    assert f"the first {ALIKE} trials failed alike" in str(reason)
    assert "FileNotFoundError: no such file" in str(reason)
    assert f"logs {run.ledger.storage.uri} --trial {trial_id}" in str(reason)
    assert "--retry-failed" in str(reason)


def test_a_run_goes_on_where_trials_fail_otherwise_or_anything_was_evaluated():
    run = Run()
    for kind in ("OSError", "ValueError", "OSError", "ValueError"):
        fail_for_good(run, run.next()[0], kind=kind)
    assert run.interrupt.reason is None

    for told_first in ({EVALUATION: told(evaluation_record(2))}, {OUTCOME: "diverged"}):
        run = Run()
        assignment, trial_id = run.next()
        run.loop.heard(assignment, told_first)
        if OUTCOME in told_first:
            DriverWriter(run.ledger).fail(trial_id, "")
            run.loop.ended(assignment, told_first)
        for _ in range(ALIKE):
            fail_for_good(run, run.next()[0])
        assert run.interrupt.reason is None


def test_a_trial_that_began_earlier_and_still_runs_may_show_that_the_sweep_works():
    run = Run(concurrent=8)
    begun = [run.next()[0] for _ in range(ALIKE + 2)]
    for assignment in begun[1 : ALIKE + 1]:
        fail_for_good(run, assignment)
    assert run.interrupt.reason is None
    fail_for_good(run, begun[0])
    assert isinstance(run.interrupt.reason, TrialsFailAlikeError), "the last one began after them"


@pytest.fixture
def failed_sweep(tmp_path):
    ledger = write_sweep(tmp_path, make_spec(name="some"))
    first, second, third = (row["trial_id"] for row in ledger.trials()[:3])
    for trial_id in (first, second):
        DriverWriter(ledger).fail(trial_id, "OSError: gone")
    DriverWriter(ledger).add_to_log(first, "OSError: gone\n\nTraceback of it\n")
    return ledger, first, third


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *arguments])
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_logs_print_what_went_wrong_with_a_trial(failed_sweep, monkeypatch, capsysbinary):
    ledger, first, third = failed_sweep
    assert call(monkeypatch, "logs", ledger.storage.uri, "--trial", first[:12]) == 0
    assert capsysbinary.readouterr().out.decode() == "OSError: gone\n\nTraceback of it\n"
    assert call(monkeypatch, "logs", "some", "--storage", str(ledger.storage.uri[:-5]), "--trial", third) == 0
    said = capsysbinary.readouterr().out.decode()
    status = ledger.trial(third)["status"]
    assert f"{status}, at step" in said
    assert "it has no log" in said
    assert call(monkeypatch, "logs", ledger.storage.uri, "--trial", "preparation") == 0
    assert "nothing went wrong" in capsysbinary.readouterr().out.decode()


def test_logs_of_no_trial_are_a_mistake(failed_sweep, monkeypatch, capsys):
    assert call(monkeypatch, "logs", failed_sweep[0].storage.uri, "--trial", "zzz") == 2
    assert "no trial of this sweep begins so" in capsys.readouterr().err


def test_the_end_of_a_run_says_why_trials_failed_and_what_to_do(failed_sweep):
    ledger, first, _ = failed_sweep
    said = failures_described(ledger)
    assert f"2 of {len(ledger.trials())} trials failed" in said
    assert f"2 of: OSError: gone; see unlearn-sweep logs {ledger.storage.uri} --trial {first}" in said
    assert "--retry-failed" in said
    assert Status.FAILED in {row["status"] for row in ledger.trials()}
