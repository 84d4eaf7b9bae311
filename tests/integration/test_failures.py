"""Trials that fail: what is told, kept and tried again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.run.executors import inline
from tests.integration.helpers import INLINE, TINY, call, rows
from trainables.records import Trial
from trainables.trial import TrialWorker
from trainables.trial.ascent import Ascent

pytestmark = pytest.mark.slow

LATER_FROM = 2
EARLY, LATER = "no retain.parquet here", "a bug of an objective"
MADE = inline.InlineExecutor.__init__.__kwdefaults__
"""What makes the worker, unless another is given."""


class FailsEarly(TrialWorker):
    """Fails before anything was evaluated, as where a file is missing."""

    def _in_progress(self) -> Any:
        raise FileNotFoundError(EARLY)


class FailsLater(TrialWorker):
    """Tells which forget set the trial under way has: one of them fails."""

    forget_set = ""

    def take(self, trial: Trial) -> None:
        FailsLater.forget_set = trial.forget_set
        super().take(trial)


def failing_later(whole: Callable[[Ascent, int], None]) -> Callable[[Ascent, int], None]:
    """Fail at the same step whenever a trial gets there, in one forget set."""

    def advance(ascent: Ascent, to: int) -> None:
        if to > LATER_FROM and FailsLater.forget_set == "verses":
            raise ValueError(f"{LATER}\nwhich is told at length")
        whole(ascent, to)

    return advance


def test_a_sweep_whose_trials_all_fail_alike_stops_and_says_why_and_goes_on_once_mended(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = storage / "alike"
    with monkeypatch.context() as patch:
        patch.setitem(MADE, "make_worker", FailsEarly)
        done = call("run", str(TINY), "--name", sweep.name, "--storage", str(storage), *INLINE)
    assert done.returncode == 1, done.stderr
    assert "the first 3 trials failed alike, and nothing was evaluated" in done.stderr
    assert f"FileNotFoundError: {EARLY}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    failed = [trial for trial in rows(sweep, "trials") if trial["status"] == "failed"]
    assert [trial["message"] for trial in failed] == [f"FileNotFoundError: {EARLY}"] * 3
    log = call("logs", str(sweep), "--trial", failed[0]["trial_id"])
    assert log.returncode == 0
    assert log.stdout.count("Traceback (most recent call last)") == 2, "it was tried twice"
    assert "in _in_progress" in log.stdout
    assert "ray/" not in log.stdout, "of the worker, not of Ray"

    mended = call("resume", str(sweep), "--retry-failed", *INLINE)
    assert mended.returncode == 0, mended.stderr
    assert {trial["status"] for trial in rows(sweep, "trials")} == {"completed"}


def test_trials_that_fail_at_a_step_are_told_in_a_line_each_and_the_others_complete(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = storage / "some"
    monkeypatch.setitem(MADE, "make_worker", FailsLater)
    monkeypatch.setattr(Ascent, "advance", failing_later(Ascent.advance))
    done = call("run", str(TINY), "--name", sweep.name, "--storage", str(storage), *INLINE)
    assert done.returncode == 0, done.stderr
    trials = rows(sweep, "trials")
    assert {(t["forget_set"], t["status"]) for t in trials} == {("verses", "failed"), ("personal_data", "completed")}
    failed = [trial for trial in trials if trial["status"] == "failed"]
    assert {(t["message"], t["last_step"]) for t in failed} == {(f"ValueError: {LATER}", LATER_FROM)}
    assert "Traceback" not in done.stdout + done.stderr
    assert "which is told at length" not in done.stdout + done.stderr
    assert f"{len(failed)} of {len(trials)} trials failed" in done.stderr
    logs = [path.read_text() for path in sweep.glob("logs/*.txt")]
    assert [log.count(f"after step {LATER_FROM}\n") for log in logs] == [2] * len(failed), "tried once more"
