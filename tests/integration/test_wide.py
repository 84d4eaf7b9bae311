"""A replicate that the sweep has grown by, its models and its trial on two workers: a worker is killed, the trial is
stopped, and goes on on one, and ends as one on one worker does."""

import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration.helpers import INLINE, TINY, actors, call, rows, start, wait_until
from tests.limits import HANG_S

pytestmark = pytest.mark.slow

SETTINGS = (
    "data.forget_sets={verses: {distribution: in, size: 8, population: 16}}",
    "preparation.references=1",
    "search.sampler=grid",
    "search.trials=null",
    "search.space={batch_size: 5, learning_rate: 1.0e-4}",
    "steps=[1, 2, 150]",
)
"""One trial a replicate, whose batches do not divide by two, and which is long enough to be hit between two
evaluations."""
LARGE = [
    sys.executable,
    "-c",
    "from orchestrator.preparation import tasks; tasks.ONE_AFTER_ANOTHER_FLOPS = 0.0; "
    "from orchestrator.cli.app import main; main()",
]
"""The command, to which all models are large enough to be trained by several workers."""


def command(sweep: Path, *settings: str) -> list[str]:
    sets = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return ["run", str(TINY), "--name", sweep.name, "--storage", str(sweep.parent), *sets]


def test_wide_models_and_a_wide_trial_that_loses_a_worker_and_stops_and_goes_on_end_as_narrow_ones(
    storage: Path, tmp_path: Path
) -> None:
    narrow, wide = storage / "one-worker", tmp_path / "two-workers"  # with models of its own
    for made in (command(narrow, "replicates=2"), command(wide)):
        done = call(*made, *INLINE)
        assert done.returncode == 0, done.stderr

    sets = ("replicates=2", "resources.workers_per_trial=2", "stop.halving={rungs: [2]}")
    process = start(
        "resume", str(wide), "--force", *(part for setting in sets for part in ("--set", setting)), command=LARGE
    )
    wait_until(lambda: actors(process.pid, "train_in_group"), process)
    wait_until(lambda: actors(process.pid, "RayTrainWorker"), process)
    assert len(saved_at(wide)) == 1, "they train the models of the new replicate"
    wait_until(lambda: len(saved_at(wide)) == 2, process)
    before = saved_at(wide)
    workers = actors(process.pid, "RayTrainWorker")
    assert len(workers) == 2
    workers[0].kill()
    gone = psutil.wait_procs(workers, timeout=HANG_S)
    assert gone[1] == [], "the other worker does not wait for ever"
    wait_until(lambda: saved_at(wide) > before and actors(process.pid, "RayTrainWorker"), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, err
    assert "resumes from its checkpoint" in out
    ended = {trial["replicate"]: trial["status"] for trial in rows(wide, "trials")}
    assert ended == {0: "completed", 1: "stopped"}
    reached = [row["step"] for row in rows(wide, "evaluations") if row["replicate"] == 1]
    assert reached == [0, 1, 2], "it was hit on its way"
    assert len(list(wide.glob("halving/*.json"))) == 1, "it was judged at its rung, and went on"

    alone = ("--set", "resources.workers_per_trial=1", "--force")
    done = call("resume", str(wide), *alone, *INLINE)
    assert done.returncode == 0, done.stderr
    assert [trial["status"] for trial in rows(wide, "trials")] == ["completed"] * 2
    for table in ("evaluations", "examples"):
        for found, expected in zip(rows(wide, table), rows(narrow, table), strict=True):
            measured = [name for name, value in expected.items() if isinstance(value, float)]
            assert [found[name] for name in measured] == pytest.approx(
                [expected[name] for name in measured], rel=1e-5, abs=1e-5
            )
            assert {**found, **dict.fromkeys(measured)} == {**expected, **dict.fromkeys(measured)}


def saved_at(sweep: Path) -> list[int]:
    """When the checkpoint of each trial was written."""
    return sorted(path.stat().st_mtime_ns for path in sweep.glob("checkpoints/*.safetensors"))
