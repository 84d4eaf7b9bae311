"""TensorBoard, Weights & Biases and MLflow, the real ones, see every evaluation once, at its step."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import mlflow
import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner
from wandb.proto.wandb_internal_pb2 import Record

from orchestrator.cli.app import app
from orchestrator.errors import SweepError
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.monitor import Tracking, open_trackers
from orchestrator.monitor.trackers import SCALARS
from orchestrator.monitor.tracking import TRACKERS
from orchestrator.spec import dump_spec
from tests.orchestrator.helpers import PROPOSAL, evaluation_record, make_spec, make_trial, outcome, write_sweep
from trainables.records import Status


def tracking(ledger: Ledger, **targets: Any) -> Tracking:
    return Tracking(ledger, open_trackers({name: str(target) for name, target in targets.items()}, ledger.sweep))


def rows_of(sweep: Path, table: str) -> list[dict[str, Any]]:
    relation: Any = duckdb.sql(f"select * from '{sweep}/{table}/*.parquet' order by all")
    rows: list[dict[str, Any]] = relation.to_arrow_table().to_pylist()
    return rows


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sweep of invented numbers, of which some collapsed."""
    folder = tmp_path_factory.mktemp("sweeps")
    write_sweep(folder, make_spec(name="tracked", search={"sampler": "random", "trials": 2, "seed": 2}))
    return folder / "tracked"


@pytest.fixture
def growing(ledger: Ledger) -> Iterator[Any]:
    """A ledger with one trial, which has one more evaluation, or has ended, at each step of this iterator."""
    ledger.manifest.create(dump_spec(make_spec()), {}, {})
    trial = make_trial(optimizer="lion", optimizer_settings={"beta1": 0.8})
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    records = [evaluation_record(step) for step in (0, 2, 5)]

    def grow() -> Iterator[str]:
        for count in (1, 3):
            TrialWriter(ledger).publish(trial.trial_id, records[:count], [], None)
            yield trial.trial_id
        ended = outcome(Status.DIVERGED, last_step=5, message="step 6: the loss is nan")
        TrialWriter(ledger).publish(trial.trial_id, records, [], ended)
        yield trial.trial_id

    return grow()


def seen(folder: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """What TensorBoard shows: by run, by tag, the points."""
    found = {}
    for run in sorted({file.parent for file in folder.rglob("events.out.*")}):
        events = EventAccumulator(str(run)).Reload()
        found[str(run.relative_to(folder))] = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        }
    return found


def test_in_tensorboard_every_trial_is_a_run_and_every_number_a_curve(sweep: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["track", str(sweep), "--tensorboard", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    runs, rows = seen(tmp_path / "runs"), rows_of(sweep, "evaluations")
    assert f"{len(rows)} evaluations in {tmp_path}/runs; view them" in done.output
    assert len(runs) == len({row["trial_id"] for row in rows})
    for row in rows:
        (run,) = [name for name in runs if name.endswith(row["trial_id"][:8])]
        assert run.startswith(f"{row['forget_set']}/seed={row['seed']}/{row['optimizer']} ")
        for name in SCALARS:
            shown = dict(runs[run].get(name, [])).get(row["step"])
            assert shown == (pytest.approx(row[name], rel=1e-6) if row[name] is not None else None)
    assert sum(len(run["performance"]) for run in runs.values()) == len(rows)


def test_tensorboard_follows_a_growing_sweep_and_a_second_look_shows_nothing_twice(
    ledger: Ledger, growing: Iterator[str], tmp_path: Path
) -> None:
    runs = tracking(ledger, tensorboard=tmp_path)
    assert [(runs.update(), runs.update()) for _ in growing] == [(1, 0), (2, 0), (0, 0)]
    for anew in (False, True):
        if anew:
            assert tracking(ledger, tensorboard=tmp_path).update() == 3
        (run,) = seen(tmp_path).values()
        assert [step for step, _ in run["performance"]] == [0, 2, 5]


def test_a_file_is_no_folder_for_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match="it is a file"):
        open_trackers({"tensorboard": str(tmp_path / "file")}, "tiny")


@pytest.fixture
def wandb_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """W&B, offline, with its files in this folder."""
    for name, value in {"MODE": "offline", "DIR": tmp_path, "CONFIG_DIR": tmp_path, "CACHE_DIR": tmp_path}.items():
        monkeypatch.setenv(f"WANDB_{name}", str(value))
    wandb.teardown()
    yield tmp_path / "wandb"
    wandb.teardown()


def wandb_runs(folder: Path) -> list[dict[str, Any]]:
    """What ``wandb sync`` would send of the runs that are in a folder."""
    wandb.teardown()  # as at the end of a process: it waits until all is written
    runs = []
    for file in folder.glob("offline-run-*/*.wandb"):
        run: dict[str, Any] = {"history": [], "summary": {}, "config": {}}
        for record in records_in(file.read_bytes()):
            if record.HasField("run"):
                sent = record.run
                run |= {"id": sent.run_id, "project": sent.project, "group": sent.run_group, "name": sent.display_name}
                run["config"] |= {item.key: json.loads(item.value_json) for item in sent.config.update}
            if record.HasField("history"):
                items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                run["history"].append({key: json.loads(value) for key, value in items.items()})
            if record.HasField("summary"):
                items = {item.key or item.nested_key[0]: item.value_json for item in record.summary.update}
                run["summary"] |= {key: json.loads(value) for key, value in items.items()}
            if record.HasField("metric") and record.metric.glob_name == "*":
                run["step_metric"] = record.metric.step_metric
        runs.append(run)
    return runs


def records_in(content: bytes) -> Iterator[Record]:
    """Read W&B's file: 7 bytes, then LevelDB's log format, blocks of 32 KiB with checksum, length and kind each."""
    place, data = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(data)
            data = b""


def test_in_wandb_every_trial_is_a_run_of_its_stratum(sweep: Path, wandb_folder: Path) -> None:
    for _ in range(2):
        done = CliRunner().invoke(app, ["track", str(sweep), "--wandb", "unlearning"])
        assert done.exit_code == 0, done.output
    assert f"evaluations in {wandb_folder}; send them: wandb sync {wandb_folder}/offline-run-*" in done.output
    runs = {run["id"]: run for run in wandb_runs(wandb_folder)}
    trials = rows_of(sweep, "trials")
    assert len(wandb_runs(wandb_folder)) == len(runs) == len(trials), "a second look makes no second run"
    assert len({trial["status"] for trial in trials}) > 1, "the check would be empty"
    for trial in trials:
        run = runs[trial["trial_id"]]
        assert (run["project"], run["group"], run["step_metric"]) == ("unlearning", trial["stratum"], "step")
        expected = json.loads(trial["config"]) | {name: trial[name] for name in ("sweep", "forget_set", "seed")}
        assert {name: run["config"][name] for name in expected} == expected
        assert run["summary"]["status"] == trial["status"]
        rows = [row for row in rows_of(sweep, "evaluations") if row["trial_id"] == trial["trial_id"]]
        assert [point["step"] for point in run["history"]] == [row["step"] for row in rows]
        for point, row in zip(run["history"], rows, strict=True):
            assert point["_step"] == row["step"]
            assert {name: point.get(name) for name in SCALARS} == {name: row[name] for name in SCALARS}


def test_wandb_follows_a_growing_sweep(ledger: Ledger, growing: Iterator[str], wandb_folder: Path) -> None:
    runs = tracking(ledger, wandb="unlearning")
    for trial_id, (new, steps, status) in zip(
        growing, [(1, [0], None), (2, [0, 2, 5], None), (0, [0, 2, 5], "diverged")], strict=True
    ):
        assert (runs.update(), runs.update()) == (new, 0)
        (run,) = wandb_runs(wandb_folder)
        assert (run["id"], [point["step"] for point in run["history"]]) == (trial_id, steps)
        assert run["summary"]["status"] == status
    assert run["summary"]["message"] == "step 6: the loss is nan"


def test_wandb_without_a_login_says_what_to_do(
    ledger: Ledger, growing: Iterator[str], wandb_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(wandb_folder / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wandb.teardown()
    next(growing)
    with pytest.raises(SweepError, match=r"--wandb unlearning: .*; log in with `wandb login`, or set WANDB_MODE="):
        tracking(ledger, wandb="unlearning").update()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for all of MLflow's tests: to make its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def mlflow_runs(store: str, experiment: str) -> dict[str, tuple[Any, dict[str, list[tuple[int, float]]]]]:
    """By trial, the run, and by metric its points. Fails where a trial has two runs."""
    client = mlflow.MlflowClient(tracking_uri=store)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    found = {}
    for run in runs:
        points = {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
        }
        assert run.data.tags["trial_id"] not in found
        found[run.data.tags["trial_id"]] = (run, points)
    return found


def test_in_mlflow_a_sweep_is_an_experiment_and_every_trial_a_run(sweep: Path, store: str, tmp_path: Path) -> None:
    both = ["--mlflow", store, "--tensorboard", str(tmp_path)]
    for _ in range(2):
        done = CliRunner().invoke(app, ["track", str(sweep), *both])
        assert done.exit_code == 0, done.output
    assert f"evaluations in the MLflow experiment tracked of {store}\n" in done.output
    assert seen(tmp_path), "any combination goes"
    runs, trials = mlflow_runs(store, "tracked"), rows_of(sweep, "trials")
    assert runs.keys() == {trial["trial_id"] for trial in trials}
    for trial in trials:
        run, points = runs[trial["trial_id"]]
        settings = json.loads(trial["config"])
        assert run.data.params["learning_rate"] == str(settings["learning_rate"])
        assert run.data.params["optimizer"] == trial["optimizer"]
        assert (run.data.params["forget_set"], run.data.tags["stratum"]) == (trial["forget_set"], trial["stratum"])
        assert (run.info.status, run.data.tags["status"]) == ("FINISHED", trial["status"])
        rows = [row for row in rows_of(sweep, "evaluations") if row["trial_id"] == trial["trial_id"]]
        for name in SCALARS:
            assert points.get(name, []) == [(row["step"], row[name]) for row in rows if row[name] is not None]


@pytest.mark.parametrize("kept_in", ["tables", "files"])
def test_mlflow_follows_a_growing_sweep(
    ledger: Ledger,
    growing: Iterator[str],
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept_in: str,
) -> None:
    if kept_in == "files":  # which keep a point twice where it is logged twice
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        store = f"file:{tmp_path}/mlruns"
    runs = tracking(ledger, mlflow=store)
    for trial_id, (new, steps, status) in zip(
        growing, [(1, [0], "RUNNING"), (2, [0, 2, 5], "RUNNING"), (0, [0, 2, 5], "FINISHED")], strict=True
    ):
        assert (runs.update(), runs.update()) == (new, 0)
        run, points = mlflow_runs(store, "tiny")[trial_id]
        assert ([step for step, _ in points["performance"]], run.info.status) == (steps, status)
    assert run.data.params["optimizer_settings.beta1"] == "0.8"
    assert run.data.tags["message"] == "step 6: the loss is nan"
    tracking(ledger, mlflow=store).update()
    assert mlflow_runs(store, "tiny")[trial_id][1] == points


def test_what_mlflow_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"--mlflow file:.*sqlite:///mlflow.db"):
        open_trackers({"mlflow": f"file:{tmp_path}"}, "tiny")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, TRACKERS[name][0], raising=False)
    with pytest.raises(SweepError, match=rf"--{name}: .*'{name}' is not installed; pip install 'unlearn-sweep\[{name}"):
        open_trackers({name: "anywhere"}, "tiny")


def test_a_tracker_has_to_be_asked_for(sweep: Path) -> None:
    with pytest.raises(SweepError, match="--tensorboard, --wandb, --mlflow"):
        CliRunner().invoke(app, ["track", str(sweep)], catch_exceptions=False)
