"""TensorBoard, the real one, sees every evaluation once, at its step."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.tracking import SCALARS, TensorBoardRuns
from tests.orchestrator.helpers import evaluation_record, make_trial


def seen(folder: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """What TensorBoard shows: by run, by tag, the points."""
    found = {}
    for run in sorted({file.parent for file in folder.rglob("events.out.*")}):
        events = EventAccumulator(str(run)).Reload()
        found[str(run.relative_to(folder))] = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        }
    return found


def test_every_trial_is_a_run_and_every_number_a_curve(written_sweeps: Path, tmp_path: Path) -> None:
    sweep = next(path.parent for path in written_sweeps.glob("*/spec.yaml"))
    done = CliRunner().invoke(app, ["track", str(sweep), "--tensorboard", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    runs = seen(tmp_path / "runs")
    rows: list[Any] = (
        duckdb.sql(f"select * from '{sweep}/evaluations/*.parquet' order by trial_id, step")
        .to_arrow_table()
        .to_pylist()
    )
    assert len(runs) == len({row["trial_id"] for row in rows})
    for row in rows:
        (run,) = [name for name in runs if name.endswith(row["trial_id"][:8])]
        assert run.startswith(f"{row['forget_set']}/seed={row['seed']}/{row['optimizer']} ")
        for name in SCALARS:
            shown = dict(runs[run].get(name, [])).get(row["step"])
            assert shown == (pytest.approx(row[name], rel=1e-6) if row[name] is not None else None)
    assert sum(len(run["performance"]) for run in runs.values()) == len(rows)


def test_a_growing_sweep_is_followed_and_a_second_look_shows_nothing_twice(ledger: Ledger, tmp_path: Path) -> None:
    trial = make_trial(learning_rate=1e-3, batch_size=4)
    ledger.propose(trial, number=0, distribution="in", proposal={})
    records = [evaluation_record(step) for step in (0, 2)]
    ledger.publish(trial.trial_id, records[:1], [], None)
    runs = TensorBoardRuns(tmp_path)
    assert runs.update(ledger) == 1
    ledger.publish(trial.trial_id, records, [], None)
    assert (runs.update(ledger), runs.update(ledger)) == (1, 0)
    for anew in (False, True):
        if anew:
            TensorBoardRuns(tmp_path).update(ledger)
        (run,) = seen(tmp_path).values()
        assert [step for step, _ in run["performance"]] == [0, 2]


def test_a_file_is_no_folder_for_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match="it is a file"):
        TensorBoardRuns(tmp_path / "file")
