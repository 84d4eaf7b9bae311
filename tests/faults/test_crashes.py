"""SIGKILL at every file-system call of a ledger in turn: readers see the state before an operation or after it."""

import hashlib
import os
import shutil
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from orchestrator.ledger import BASELINES, DriverWriter, Ledger, TrialWriter, repair_ledger
from orchestrator.ledger.schema import TABLES
from orchestrator.storage import LocalStorage
from tests.faults.crashes import CALLS, run_in_child
from tests.orchestrator.helpers import PROPOSAL, evaluation_record, example_record, make_trial, outcome

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

KEYS = {"trials": "trial_id", "evaluations": "trial_id, step", "examples": "trial_id, step, example_id"}
BASELINE = {name: value for name, value in evaluation_record().columns().items() if name in BASELINES.names} | {
    "model": "base",
    "forget_set": "verses",
    "replicate": 0,
}
FORGET_EXAMPLE = {
    "forget_set": "verses",
    "replicate": 0,
    "example_id": "verses-000000",
    "prompt": "",
    "completion": "text",
}


class Noted(LocalStorage):
    """Calls ``done`` after each operation that changes what is visible."""

    done = staticmethod(lambda: None)


def _noted(name):
    def operation(self, *arguments):
        result = getattr(LocalStorage, name)(self, *arguments)
        self.done()
        return result

    return operation


for _name in ("publish", "create", "remove"):
    setattr(Noted, _name, _noted(_name))


def write(folder, done):
    """Write a sweep, or what is left of it, as runner and trial do."""
    storage = Noted(folder)
    storage.done = done
    ledger = Ledger(storage=storage, sweep="crashed", now=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    storage.create("lock", b"holder")
    storage.remove_leftovers()
    repair_ledger(ledger)
    if ledger.manifest.spec_text() is None:
        ledger.manifest.create("name: crashed\n", {"seed": 1}, {"python": "3.11"})
    DriverWriter(ledger).publish_baselines([BASELINE])
    DriverWriter(ledger).publish_forget_examples([FORGET_EXAMPLE])
    for number, steps in enumerate([2, 1]):
        write_trial(ledger, make_trial(seed=number), number, steps)
        DriverWriter(ledger).merge()


def write_trial(ledger, trial, number, steps):
    worker = TrialWriter(ledger)
    proposed = {row["trial_id"]: row for row in ledger.trials()}
    if trial.trial_id not in proposed:
        DriverWriter(ledger).propose(trial, number=number, distribution="in", proposal=PROPOSAL)
    if proposed.get(trial.trial_id, {}).get("status") is None:
        done = len(ledger.published(trial.trial_id)[0])
        for count in range(min(done + 1, steps), steps + 1):
            ended = outcome(last_step=steps - 1) if count == steps else None
            evaluations = [evaluation_record(step) for step in range(count)]
            worker.publish(trial.trial_id, evaluations, [example_record(step) for step in range(count)], ended)
            worker.save_checkpoint(trial.trial_id, b"weights of step %d" % count)
    worker.discard_checkpoint(trial.trial_id)


def visible(folder):
    """Every file that readers may see, by content; a merged copy by its rows, for it names inodes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(".tmp"):
            name, content = str(path.relative_to(folder)), path.read_bytes()
            if name.startswith("merged/"):
                content = repr(pq.read_table(path).to_pylist()).encode()
                name = f"{name.partition('-')[0]} {hashlib.sha256(content).hexdigest()[:8]}"
            found[name] = content
    return found


def leftovers(folder):
    return sorted(str(path.relative_to(folder).parent) for path in folder.rglob("*.tmp"))


def rows_by_strangers(folder, table):
    """Read a table with DuckDB and with pyarrow, check each key and what both say, and give the rows."""
    if not list((folder / table).glob("*.parquet")):
        return []
    connection = duckdb.connect(config={"threads": 1})
    source = f"read_parquet('{folder}/{table}/*.parquet')"
    assert not connection.sql(f"select {KEYS[table]} from {source} group by all having count(*) > 1").fetchall()
    files = [str(path) for path in sorted((folder / table).glob("*.parquet"))]
    by_pyarrow = ds.dataset(files).to_table()
    by_duckdb = connection.sql(f"from {source}").to_arrow_table().cast(by_pyarrow.schema)
    assert sorted(map(str, by_duckdb.to_pylist())) == sorted(map(str, by_pyarrow.to_pylist()))
    return by_pyarrow.to_pylist()


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """What is visible before the first operation and after each, in a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    found = [{}]
    write(folder, lambda: found.append(visible(folder)))
    assert leftovers(folder) == []
    return found


@pytest.fixture
def workplace(tmp_path):
    """A folder in memory, where there is one: what a killed process leaves is the same, and fsync takes no time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_kill_at_any_call_shows_the_state_before_or_after_and_going_on_ends_the_same(
    workplace, states, record_property
):
    folder, progress, report = (workplace / name for name in ("sweep", "progress", "moments"))
    moments = run_in_child(lambda: write(folder, lambda: None), None, report)
    assert {name.partition(" ")[2] for name in moments} == {
        "open",
        "write",
        "fsync",
        "replace",
        "link",
        "unlink",
        "mkdir",
    }
    assert visible(folder) == states[-1]
    situations = set()
    for die_at, moment in enumerate(moments):
        shutil.rmtree(folder)
        assert run_in_child(lambda at=die_at: write_noting(folder, progress), die_at, report) is None
        where = f"moment {die_at} of {len(moments)}, {moment}"
        operations = progress.stat().st_size
        now = visible(folder)
        assert now in states[operations : operations + 2], f"{where}: neither before nor after operation {operations}"
        situation = (operations, now == states[operations], *leftovers(folder))
        if situation not in situations:  # all that follows is a function of these files
            situations.add(situation)
            check_readers(folder, where)
            write(folder, lambda: None)
            assert visible(folder) == states[-1], f"{where}: going on ended elsewhere"
            assert leftovers(folder) == [], where
    record_property("crash points", len(moments))
    record_property("different situations that they leave", len(situations))
    assert len(moments) > 300


def write_noting(folder, progress):
    descriptor = os.open(progress, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    write(folder, lambda: os.write(descriptor, b"."))


def check_readers(folder, where):
    ledger = Ledger(storage=LocalStorage(folder), sweep="crashed")
    with warnings.catch_warnings(action="error"):
        for table in TABLES:
            ours, theirs = ledger.table(table).to_pylist(), rows_by_strangers(folder, table)
            assert sorted(map(str, ours)) == sorted(map(str, theirs)), f"{where}: {table}"


def test_the_seam_knows_every_call_that_the_storage_makes():
    """So that a new one is not missed."""
    source = Path(__file__).parents[2].joinpath("orchestrator", "storage", "local.py").read_text()
    used = {
        name
        for name in (
            "rename",
            "replace",
            "link",
            "symlink",
            "unlink",
            "mkdir",
            "rmdir",
            "truncate",
            "fsync",
            "write_bytes",
            "write_text",
            "copy",
            "rmtree",
        )
        if f".{name}(" in source
    }
    assert used <= {*CALLS, "write"}
