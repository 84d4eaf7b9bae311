"""A finished sweep that gets more to do: trials, steps, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.helpers import INLINE, TINY, call, rows

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(tiny_sweep: Path, tmp_path: Path) -> Path:
    """A copy of the finished sweep, beside the same models."""
    shutil.copytree(tiny_sweep.parent / ".models", tmp_path / ".models")
    return Path(shutil.copytree(tiny_sweep, tmp_path / "tiny"))


def test_a_finished_sweep_takes_more_trials_and_longer_trajectories(sweep: Path, tiny_sweep: Path) -> None:
    done = call("resume", str(sweep), "--trials", "5", "--steps", "40", *INLINE)
    assert done.returncode == 0, done.stderr
    trials, evaluations = rows(sweep, "trials"), rows(sweep, "evaluations")
    assert len(trials) == 10
    assert {(trial["status"], trial["target_step"]) for trial in trials} == {("completed", 40)}
    assert len(evaluations) == 10 * (1 + 9)
    before = [(row["trial_id"], row["step"]) for row in rows(tiny_sweep, "evaluations")]
    kept = [row for row in evaluations if (row["trial_id"], row["step"]) in set(before)]
    assert kept == rows(tiny_sweep, "evaluations")
    manifest = json.loads((sweep / "sweep.json").read_text())
    assert manifest["resumed"][-1]["changes"]["additions"] == [
        "search.trials: was 4, is 5",
        "steps: was [1, 2, 3, 5, 8, 12, 20, 30], is [1, 2, 3, 5, 8, 12, 20, 30, 40]",
    ]
    again = call("resume", str(sweep))
    assert again.stdout.startswith("nothing left to do: 10 trials")


def test_running_a_spec_that_adds_asks_to_resume(sweep: Path) -> None:
    done = call("run", str(TINY), "--storage", str(sweep.parent), "--set", "search.trials=5")
    assert done.returncode == 2
    assert "8 of 10 trials ended" in done.stderr
    assert "search.trials: was 4, is 5" in done.stderr
    assert "--resume" in done.stderr


def test_another_space_is_refused_with_the_difference_and_forced_on_request(sweep: Path) -> None:
    changed = ("--set", "search.space.batch_size=2", "--set", "search.trials=5")
    done = call("run", str(TINY), "--storage", str(sweep.parent), "--resume", *changed)
    assert (done.returncode, done.stdout) == (2, "")
    assert "search.space.batch_size: was 4, is 2" in done.stderr
    assert "--force" in done.stderr
    assert "Traceback" not in done.stderr

    forced = call("resume", str(sweep), *changed, "--force", *INLINE)
    assert forced.returncode == 0, forced.stderr
    assert sorted(trial["batch_size"] for trial in rows(sweep, "trials")) == [2, 2] + [4] * 8
    manifest = json.loads((sweep / "sweep.json").read_text())
    assert manifest["resumed"][-1]["changes"]["breaking"] == ["search.space.batch_size: was 4, is 2"]


def test_other_code_is_warned_of(sweep: Path) -> None:
    manifest = json.loads((sweep / "sweep.json").read_text())
    manifest["code"]["sources"] = "0" * 64
    (sweep / "sweep.json").write_text(json.dumps(manifest))
    done = call("resume", str(sweep))
    assert done.returncode == 0, done.stderr
    assert "code of trials and search: was version" in done.stderr
    assert "sources 000000000000" in done.stderr
