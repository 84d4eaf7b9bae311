"""Merged copies: the same rows, found only while they are current, and invisible to plain readers."""

import multiprocessing
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from orchestrator.ledger import DriverWriter, Ledger, TrialWriter, open_sweep
from orchestrator.ledger.schema import TABLES
from orchestrator.ledger.tables import merged
from orchestrator.ledger.tables.table_files import TableFiles
from orchestrator.query import query
from orchestrator.storage import LocalStorage
from orchestrator.storage.object_store import ObjectStorage
from tests.limits import HANG_S
from tests.orchestrator.helpers import (
    PROPOSAL,
    evaluation_record,
    example_record,
    make_spec,
    make_trial,
    outcome,
    write_sweep,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A sweep, written once; tests copy it."""
    return write_sweep(tmp_path_factory.mktemp("written"), make_spec(search={"trials": 6}))


@pytest.fixture
def ledger(written, tmp_path):
    shutil.copytree(written.storage.uri, tmp_path / written.sweep)
    return open_sweep(str(tmp_path / written.sweep))


def rows(ledger, name):
    return sorted(ledger.table(name).to_pylist(), key=str)


def copies(ledger):
    return list(ledger.storage.files(merged.FOLDER, ".parquet"))


def copy_is_used(ledger, name):
    return bool(merged.find(ledger.storage, name, ledger.storage.files(name, ".parquet")))


@pytest.mark.parametrize("name", TABLES)
def test_a_merged_table_has_the_same_rows_and_schema_and_is_read_from_one_file(ledger, name, monkeypatch):
    before = rows(ledger, name)
    DriverWriter(ledger).merge()
    monkeypatch.setattr(TableFiles, "open", lambda *_: pytest.fail("a trial's own file was read"))
    assert rows(ledger, name) == before
    assert ledger.table(name).schema.equals(TABLES[name])


def test_rows_are_sorted_by_forget_set_learning_rate_and_step(ledger):
    DriverWriter(ledger).merge()
    for name in ("evaluations", "examples"):
        order = [
            (r["forget_set"], r["learning_rate"], r["step"], r["trial_id"]) for r in ledger.table(name).to_pylist()
        ]
        assert order == sorted(order)
        assert len(set(order)) > 20


def test_the_tables_own_files_stay_as_they_are(ledger):
    folder = Path(ledger.storage.uri)
    before = {path: path.read_bytes() for name in TABLES for path in (folder / name).iterdir()}
    DriverWriter(ledger).merge()
    assert {path: path.read_bytes() for name in TABLES for path in (folder / name).iterdir()} == before


def test_merging_twice_leaves_one_copy_of_each_table(ledger):
    DriverWriter(ledger).merge()
    first = copies(ledger)
    DriverWriter(ledger).merge()
    assert copies(ledger) == first
    assert len(first) == len(TABLES)


def test_a_row_committed_after_the_merge_is_seen_once(ledger):
    DriverWriter(ledger).merge()
    trial = make_trial(seed=5)
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], outcome(last_step=0))
    assert copy_is_used(ledger, "evaluations"), "new trials do not end a copy"
    found = [row for row in ledger.table("evaluations").to_pylist() if row["trial_id"] == trial.trial_id]
    assert len(found) == 1
    total = query([ledger], "select count(*) n, count(distinct trial_id || step) d from evaluations").to_pylist()[0]
    assert total["n"] == total["d"] == ledger.table("evaluations").num_rows


@pytest.mark.parametrize("change", ["republished", "removed"])
def test_a_copy_is_ignored_once_a_source_has_changed_and_is_replaced_by_the_next_merge(ledger, change):
    DriverWriter(ledger).merge()
    trial_id = ledger.trials()[0]["trial_id"]
    if change == "republished":
        TrialWriter(ledger).publish(trial_id, [evaluation_record(0, quality=77.0)], [example_record(0)], None)
    else:
        ledger.storage.remove(f"evaluations/{trial_id}.parquet")
    own = [row for row in ledger.table("evaluations").to_pylist() if row["trial_id"] == trial_id]
    assert [row["unlearning_quality"] for row in own][:1] == ([77.0] if change == "republished" else [])
    assert not copy_is_used(ledger, "evaluations")
    before = rows(ledger, "evaluations")
    DriverWriter(ledger).merge()
    assert copy_is_used(ledger, "evaluations")
    assert rows(ledger, "evaluations") == before
    assert len(copies(ledger)) == len(TABLES)


def test_a_copied_sweep_reads_its_trials_until_it_is_merged_again(ledger, tmp_path):
    DriverWriter(ledger).merge()
    shutil.copytree(ledger.storage.uri, tmp_path / "copied")
    copied = Ledger(storage=LocalStorage(tmp_path / "copied"), sweep=ledger.sweep)
    assert rows(copied, "evaluations") == rows(ledger, "evaluations")


@pytest.mark.parametrize("damage", ["truncated", "a bit flipped"])
def test_a_damaged_copy_costs_time_and_no_rows(ledger, damage):
    before = {name: rows(ledger, name) for name in TABLES}
    DriverWriter(ledger).merge()
    for name in copies(ledger):
        path = Path(ledger.storage.uri, name)
        content = path.read_bytes()
        column = pq.ParquetFile(path).metadata.row_group(0).column(4)
        at = column.data_page_offset + column.total_compressed_size - 1
        damaged = (
            content[:-20] if damage == "truncated" else content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        )
        path.write_bytes(damaged)
    counted = query(
        [ledger], "select count(*) n, count(optimizer) o, sum(learning_rate) s from evaluations"
    ).to_pylist()[0]
    assert counted["n"] == counted["o"] == len(before["evaluations"])
    for name in TABLES:
        assert rows(ledger, name) == before[name]


def test_a_filter_on_forget_set_and_learning_rate_reads_few_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(merged, "ROWS_A_GROUP", 16)
    ledger = write_sweep(tmp_path, make_spec(search={"trials": 12}))
    DriverWriter(ledger).merge()
    (copy,) = merged.find(ledger.storage, "examples", ledger.storage.files("examples", ".parquet"))
    (fragment,) = copy.dataset.get_fragments()
    low, high = sorted(row["learning_rate"] for row in ledger.trials() if row["forget_set"] == "verses")[3:5]
    wanted = (
        (ds.field("forget_set") == "verses") & (ds.field("learning_rate") >= low) & (ds.field("learning_rate") < high)
    )
    assert len(fragment.split_by_row_group(wanted)) <= 2 < len(fragment.split_by_row_group())


def test_a_filter_on_step_reads_few_row_groups_where_trials_share_a_learning_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(merged, "ROWS_A_GROUP", 8)
    ledger = Ledger(storage=LocalStorage(tmp_path / "grid"), sweep="grid")
    for seed in range(8):
        trial = make_trial(seed=seed)
        DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
        TrialWriter(ledger).publish(
            trial.trial_id, [evaluation_record(step) for step in range(6)], [], outcome(last_step=5)
        )
    DriverWriter(ledger).merge()
    (copy,) = merged.find(ledger.storage, "evaluations", ledger.storage.files("evaluations", ".parquet"))
    (fragment,) = copy.dataset.get_fragments()
    assert len(fragment.split_by_row_group()) == 6
    assert len(fragment.split_by_row_group(ds.field("step") == 3)) == 1


@pytest.fixture
def small_copies(monkeypatch):
    monkeypatch.setattr(merged, "ROWS_A_COPY", 6)


def current(ledger, name="evaluations"):
    return merged.find(ledger.storage, name, ledger.storage.files(name, ".parquet"))


@pytest.mark.usefixtures("small_copies")
def test_a_big_table_has_several_copies_in_order_and_a_change_ends_only_its_own(ledger):
    before = rows(ledger, "evaluations")
    DriverWriter(ledger).merge()
    parts = current(ledger)
    assert len(parts) > 2
    assert frozenset.union(*(part.sources for part in parts)) == set(ledger.storage.files("evaluations", ".parquet"))
    assert sum(part.dataset.count_rows() for part in parts) == len(before)
    keys = [(r["forget_set"], r["learning_rate"]) for r in ledger.table("evaluations").to_pylist()]
    assert keys == sorted(keys)
    assert rows(ledger, "evaluations") == before
    changed = next(iter(parts[1].sources))
    trial_id = Path(changed).stem
    TrialWriter(ledger).publish(trial_id, *ledger.published(trial_id), None)
    assert [part.path for part in current(ledger)] == [part.path for part in (parts[0], *parts[2:])]
    assert rows(ledger, "evaluations") == before


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.usefixtures("small_copies")
@pytest.mark.parametrize("died_after", range(6))
def test_a_merge_that_dies_anywhere_leaves_every_row_once(ledger, monkeypatch, died_after):
    """Old copies and new ones, of other boundaries, lie side by side: no row is taken from two."""
    DriverWriter(ledger).merge()
    before = {name: rows(ledger, name) for name in TABLES}
    monkeypatch.setattr(merged, "ROWS_A_COPY", 9)
    left = iter(range(died_after))

    class Dying(LocalStorage):
        def publish(self, path, content):
            if next(left, None) is None:
                raise Killed
            super().publish(path, content)

    with pytest.raises(Killed):
        DriverWriter(Ledger(storage=Dying(Path(ledger.storage.uri)), sweep="tiny")).merge()
    for name in TABLES:
        assert rows(ledger, name) == before[name]
        counted = query([ledger], f"select count(*) n from {name}").to_pylist()
        assert counted == [{"n": len(before[name])}]
    DriverWriter(ledger).merge()
    covered = [path for part in current(ledger) for path in part.sources]
    assert sorted(covered) == sorted(ledger.storage.files("evaluations", ".parquet"))


def test_an_empty_sweep_can_be_merged(tmp_path):
    ledger = Ledger(storage=LocalStorage(tmp_path / "empty"), sweep="empty")
    DriverWriter(ledger).merge()
    assert ledger.table("evaluations").num_rows == 0


def test_merging_works_on_object_storage():
    ledger = Ledger(storage=ObjectStorage("memory://merging"), sweep="tiny")
    for seed in range(3):
        trial = make_trial(seed=seed)
        DriverWriter(ledger).propose(trial, number=seed, distribution="in", proposal=PROPOSAL)
        TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], outcome(last_step=0))
    before = rows(ledger, "evaluations")
    DriverWriter(ledger).merge()
    assert copy_is_used(ledger, "evaluations")
    assert rows(ledger, "evaluations") == before


def read_without_end(folder: str, ready, stop, results) -> None:
    """Read as plain DuckDB and as ``Ledger`` does, again and again; put every count that was seen."""
    ledger = Ledger(storage=LocalStorage(Path(folder)), sweep="tiny")
    seen = []
    while not stop.is_set():
        plain = duckdb.sql(
            f"select count(*), count(distinct trial_id || '/' || step) from '{folder}/evaluations/*.parquet'"
        )
        seen.append(plain.fetchall()[0])
        own: pa.Table = ledger.table("evaluations")
        seen.append((own.num_rows, len(set(zip(own["trial_id"].to_pylist(), own["step"].to_pylist(), strict=True)))))
        ready.set()
    results.put(seen)


@pytest.mark.slow
def test_readers_see_every_row_once_while_trials_are_merged_and_committed(ledger):
    context = multiprocessing.get_context("spawn")
    ready, stop, results = context.Event(), context.Event(), context.Queue()
    reader = context.Process(target=read_without_end, args=(ledger.storage.uri, ready, stop, results))
    start = ledger.table("evaluations").num_rows
    reader.start()
    assert ready.wait(HANG_S)
    for number in range(12):
        trial = make_trial(seed=100 + number)
        DriverWriter(ledger).propose(trial, number=number, distribution="in", proposal=PROPOSAL)
        for count in (1, 2):
            records = [evaluation_record(step) for step in range(count)]
            TrialWriter(ledger).publish(trial.trial_id, records, [example_record(r.step) for r in records], None)
            DriverWriter(ledger).merge()
    stop.set()
    seen = results.get(timeout=HANG_S)
    reader.join(HANG_S)
    assert reader.exitcode == 0
    assert all(rows == distinct for rows, distinct in seen)
    assert min(rows for rows, _ in seen) >= start
    plain, own = ([count for count, _ in seen[offset::2]] for offset in (0, 1))
    assert plain == sorted(plain)
    assert own == sorted(own)
    assert len(set(plain)) > 1, "the reader saw the table grow"
