"""Every command on every damaged folder: a message that names the file, the right exit code, never a traceback.

And no command that reads moves or writes a file of the sweep, or touches one outside.
"""

import errno
import json
import os
import shutil
import sys
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.cli import main
from orchestrator.errors import LedgerWarning, StorageError
from orchestrator.ledger import DriverWriter, Ledger, open_sweep, repair_ledger
from orchestrator.ledger.tables.merged import SOURCES_KEY
from orchestrator.preparation import CheckedInputs
from orchestrator.report import page as report
from orchestrator.report.data import read_report_data
from orchestrator.report.page import draw, render
from orchestrator.run import starting
from orchestrator.spec import dump_spec
from orchestrator.spec.loading import validate_spec
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import WORKLOAD, Driver, make_search, make_spec, spec_data, write_sweep
from tests.orchestrator.ledger import damages

SQL = "select count(*) from trials, evaluations, examples, baselines, forget_examples"


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "sweeps"
    spec = make_spec(name="first", search={"trials": 2})
    ledger = write_sweep(folder, spec)
    DriverWriter(ledger).publish_forget_examples(
        [
            {
                "forget_set": name,
                "replicate": 0,
                "example_id": f"{name}-000000",
                "prompt": "",
                "completion": "x",
                "repetitions": 1,
            }
            for name in spec.data.forget_sets
        ]
    )
    return folder / "first"


@pytest.fixture
def folder(sound, tmp_path, monkeypatch):
    """A copy of the sweep, to be damaged; what draws and what trains is left out."""
    monkeypatch.setattr(report, "draw", lambda *_: [])
    monkeypatch.setattr(
        starting, "_read_and_check", lambda spec, **_: CheckedInputs(replicates=[_Inputs(spec)], problems=())
    )
    monkeypatch.setattr("orchestrator.run.executors.ray_executor.ray_session", _no_ray)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound, tmp_path / "sweeps" / "first")
    return tmp_path / "sweeps" / "first"


class _Inputs:
    """What a resumed sweep is compared with; to read the data takes longer than all else here."""

    def __init__(self, spec):
        self.spec, self.workload_hash, self.tasks, self.datasets, self.notes = spec, WORKLOAD, [], None, ()

    def facts(self):
        return {}


def _no_ray(*_, **__):
    raise StorageError("all was checked; now Ray would start")


@pytest.fixture
def call(monkeypatch, capfd):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return caught.value.code or 0, out, err

    return run


READERS = {
    "status": ("status", "first", "--json"),
    "query": ("query", "first", SQL),
    "frontier": ("frontier", "first", "--json"),
    "report": ("report", "first", "--out", "page.html"),
    "track": ("track", "first", "--tensorboard", "runs"),
}
SLOW = {"report", "track"}
SOME = list(damages.TABLES)[::6]
"""Damages on which the slower commands are tried too: all are found where a file is read, by whatever command."""
OF_TABLE = {
    "trials": {"status", "query", "report", "track"},
    "evaluations": {"status", "query", "frontier", "report", "track"},
    "examples": {"query"},
    "baselines": {"query", "frontier", "report"},
}
"""The commands that read all of a table; the report reads examples of few trials."""


def state(place):
    """Say of everything below a folder, links not followed, what it is and when it changed."""
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_mode) for path in place.rglob("*")
    }


@pytest.mark.parametrize("damage", damages.TABLES)
def test_a_reader_names_what_is_damaged_and_goes_on(folder, call, damage):
    damages.TABLES[damage](folder)
    table = damage.partition(":")[0]
    before = state(folder.parent)
    for name, arguments in READERS.items():
        if name in SLOW and damage not in SOME:
            continue
        code, out, err = call(*arguments)
        assert (name, code, f"/first/{'references/' * (table == 'baselines')}{table}" in err) == (
            (name, 1, True) if name in OF_TABLE[table] else (name, code, code == 1)
        ), err
        assert out or name == "report", "what could be read is shown"
        if name == "status" and code:
            assert len(json.loads(out)["skipped_files"]) == 1
        if name == "frontier":
            assert [len(one["skipped_files"]) for one in json.loads(out)] == [code, code]
    assert state(folder.parent) == before, "readers move and write nothing"


@pytest.mark.parametrize("damage", SOME)
def test_resume_sets_aside_what_is_damaged_and_goes_on(sound, folder, call, damage):
    damages.TABLES[damage](folder)
    outside = state(folder.parent / "outside")
    code, _, err = call("resume", "first")
    table = damage.partition(":")[0]
    assert (code, f"/first/{'references/' * (table == 'baselines')}{table}" in err) == (1, True) or (
        table == "baselines" and code == 0
    )
    kept = "the folder" in damage
    assert ("now Ray would start" in err, "quarantined as quarantine/" in err) == (not kept and code == 1, not kept)
    assert {**state(folder.parent / "outside"), **outside} == state(folder.parent / "outside")
    if not kept:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LedgerWarning)
            ledger = open_sweep("first")
            Driver(make_search(make_spec(name="first", search={"trials": 2}), ledger), ledger).run()
            assert identities(ledger) == identities(Ledger(storage=LocalStorage(sound), sweep="first"))


def identities(ledger):
    rows = ledger.table("evaluations", ["trial_id", "step", "performance"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


@pytest.mark.parametrize("damage", damages.SPECS)
def test_a_damaged_spec_is_named_by_every_command(folder, call, damage):
    (folder / "spec.yaml").write_bytes(damages.SPECS[damage])
    before = state(folder.parent)
    others = {"export": ("export", "first", "--trial", "0", "--step", "2", "--to", "model"), "stop": ("stop", "first")}
    for name, arguments in (READERS | others | {"resume": ("resume", "first")}).items():
        code, _, err = call(*arguments)
        if damage == "of a later version" and name in ("query", "track"):
            assert code == 0
        else:
            assert (name, code, "spec.yaml" in err) == (name, 2, True), err
    code, _, err = call("plan", folder / "spec.yaml")
    assert (code, "spec.yaml" in err) == (2, True)
    assert len(err) < 20_000
    assert state(folder.parent) == before
    code, out, _ = call("status", "--json")
    assert [one["sweep"] for one in json.loads(out)] == ["first"]


@pytest.mark.parametrize("damage", damages.MANIFESTS)
def test_a_damaged_manifest_is_named_where_it_is_shown_and_before_a_sweep_goes_on(folder, call, damage):
    damages.MANIFESTS[damage](folder)
    code, _, err = call(*READERS["report"])
    assert (code, "sweep.json" in err) == (1, True), err
    code, _, err = call(*READERS["status"])
    assert (code, "sweep.json" in err) == (0, False), err
    code, _, err = call("resume", "first")
    assert (code, "sweep.json" in err) == (2, True), err


@pytest.mark.parametrize("damage", damages.NO_DRIVERS)
def test_a_file_that_is_named_unlike_a_drivers_is_none(folder, call, damage):
    damages.NO_DRIVERS[damage](folder)
    assert call(*READERS["status"])[0] == 0
    assert call("stop", "first")[:2] == (0, "nobody drives it now\n")
    assert call("resume", "first")[1].startswith("nothing left to do")


@pytest.mark.parametrize("damage", damages.DRIVERS)
def test_of_a_damaged_driver_nothing_is_known(folder, call, damage):
    damages.DRIVERS[damage](folder)
    assert call(*READERS["status"])[0] == 0
    code, _, err = call("stop", "first")
    assert (code, "drivers/000001.json" in err, "--take-over" in err) == (1, True, True)
    code, _, err = call("resume", "first")
    assert (code, "--take-over" in err) == (2, True)
    assert call("resume", "first", "--take-over")[1].startswith("nothing left to do")


LINKS = ["spec.yaml", "sweep.json", "drivers", "optuna", "report", "merged", "quarantine", "checkpoints", "references"]


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_written_or_read_through_a_link(folder, call, name):
    outside = folder.parent / "outside"
    if (folder / name).exists():
        shutil.move(folder / name, outside)
    else:
        outside.mkdir()
        (outside / "index.html").write_text("mine")
    (folder / name).symlink_to(outside)
    before = state(outside) | {str(outside): outside.stat().st_mtime_ns}
    for arguments in [*READERS.values(), ("report", "first"), ("merge", "first"), ("resume", "first")]:
        code, _, err = call(*arguments)
        assert code == 0 or f"first/{name}" in err
    assert state(outside) | {str(outside): outside.stat().st_mtime_ns} == before


def test_a_sweep_may_stand_behind_a_link_itself(folder, call):
    """A user's storage on another disk."""
    shutil.move(folder, folder.parents[1] / "disk")
    folder.symlink_to(folder.parents[1] / "disk")
    assert [call(*arguments)[0] for arguments in READERS.values()] == [0] * len(READERS)
    assert [one["sweep"] for one in json.loads(call("status", "--json")[1])] == ["first"]
    assert call("resume", "first")[1].startswith("nothing left to do")


def test_the_status_of_all_sweeps_goes_on_past_a_folder_that_may_not_be_read(folder, call, monkeypatch):
    (folder.parent / "lost+found").mkdir()
    opened = os.open

    def guarded(path, *arguments, **options):
        if str(path).endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", guarded)
    code, out, _ = call("status", "--json")
    found = {one["sweep"]: one for one in json.loads(out)}
    assert (code, found.keys()) == (0, {"first", "lost+found"})
    assert "Permission denied" in found["lost+found"]["error"]


@pytest.mark.parametrize("stamp", [b"", b"null", b"[]", b"[" * 9999, b'{"a": 1}', b"\xff"])
def test_a_merged_copy_without_a_sound_stamp_is_named_and_no_row_is_missing(folder, call, stamp):
    ledger = Ledger(storage=LocalStorage(folder), sweep="first")
    DriverWriter(ledger).merge()
    path = next(folder.glob("merged/evaluations-*.parquet"))
    rows = pq.read_table(path)
    pq.write_table(rows.replace_schema_metadata({**rows.schema.metadata, SOURCES_KEY: stamp}), path)
    code, out, err = call("query", "first", "select count(*) as n from evaluations", "--format", "json")
    assert (code, json.loads(out), path.name in err) == (0, [{"n": rows.num_rows}], True)


def test_a_report_after_a_sweep_went_on_by_force_leaves_out_what_the_spec_does_not_admit(sound, tmp_path, call):
    """Another forget set, another step axis, another space: the rows of before are not of this search."""
    shutil.copytree(sound, tmp_path / "sweeps" / "first")
    data = spec_data(name="first", steps=[0, 2, 9], search={"space": {"batch_size": 4, "learning_rate": [1e-3, 1e-2]}})
    del data["data"]["forget_sets"]["people"]
    spec = validate_spec(data, "test")
    (tmp_path / "sweeps" / "first" / "spec.yaml").write_text(dump_spec(spec))
    ledger = open_sweep("first", str(tmp_path / "sweeps"))
    with pytest.warns(LedgerWarning, match="forget sets that the present spec does not name are left out .'people'"):
        page = render(ledger, read := read_report_data(ledger), draw(ledger, read), "", redact=False)
    assert "the present search space or step axis does not have them" in page
    assert ledger.skipped == {}


@pytest.mark.parametrize(
    ("patched", "error", "said"),
    [
        ((pq, "ParquetFile"), MemoryError(), "too little memory"),
        ((pq, "ParquetFile"), pa.ArrowMemoryError("malloc of size 64 failed"), "malloc of size 64"),
        ((pq, "ParquetFile"), OSError(errno.EIO, "Input/output error"), "Input/output error"),
        ((os, "fstat"), OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        ((os, "fstat"), PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_a_reader_that_the_system_fails_takes_no_file_for_damaged(folder, monkeypatch, patched, error, said):
    def failing(*_, **__):
        raise error

    before = state(folder)
    ledger = open_sweep("first")
    with monkeypatch.context() as patch, warnings.catch_warnings(action="error"):
        patch.setattr(*patched, failing)
        with pytest.raises(StorageError, match=rf"/first/evaluations/.*{said}"):
            ledger.table("evaluations")
        with pytest.raises(StorageError, match=said):
            repair_ledger(ledger)
    assert (ledger.skipped, state(folder)) == ({}, before)
    assert ledger.table("evaluations").num_rows > 0
