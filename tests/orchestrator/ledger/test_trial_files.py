"""A trial's rows that grow: as one conversion of all of them gives, but only new records are converted."""

import io
import itertools
import json
import pickle
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.ledger import DriverWriter, Ledger, TrialWriter, to_table
from orchestrator.ledger.schema import EXAMPLES_WHO, TABLES
from orchestrator.ledger.tables import parquet, table_files
from orchestrator.ledger.tables import trial_files as growing
from orchestrator.ledger.tables.parquet import AFTER_AT_MOST, decode, encode, may_replace
from orchestrator.ledger.tables.table_builder import TABLES_AT_ONCE, TableBuilder
from orchestrator.ledger.tables.trial_files import LastTrial, TrialFiles
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import PROPOSAL, evaluation_record, example_record, make_trial, outcome

RECORDS = [example_record(step, f"verses-{i:06d}", nll=step + i / 7) for step in range(4) for i in range(3)]


@pytest.fixture
def trial(ledger):
    DriverWriter(ledger).propose(make_trial(), number=0, distribution="in", proposal=PROPOSAL)
    return ledger.trials()[0]


@pytest.fixture
def converted(monkeypatch):
    """The numbers of records that were converted, one a call."""
    counts = []

    def counting(schema, rows):
        counts.append(len(rows))
        return to_table(schema, rows)

    to_table = growing.to_table
    monkeypatch.setattr(growing, "to_table", counting)
    return counts


def test_a_file_that_grew_is_the_file_of_all_records(trial, converted):
    rows = TrialFiles(trial)
    for count in (0, 3, 3, 9, 12):
        grown = rows.file("examples", RECORDS[:count])
    assert converted == [3, 3, 3, 3], "a step at a time, none twice"
    assert grown == TrialFiles(trial).file("examples", RECORDS)
    expected = [
        {**vars(record), "trial_id": trial["trial_id"], **{n: trial[n] for n in EXAMPLES_WHO}} for record in RECORDS
    ]
    for record in expected:
        assert record.pop("metrics") == {"extraction_strength": 0.25, "own_metric": 1.5}
    found = read(grown).to_pylist()
    assert [{name: row[name] for name in record} for row, record in zip(found, expected, strict=True)] == expected
    assert {row["extraction_strength"] for row in found} == {0.25}, "a column of its own"
    assert [row["other_metrics"] for row in found] == [[("own_metric", 1.5)]] * len(found), "without a column"
    assert {row["mia_zlib"] for row in found} == {None}, "not measured"


@pytest.mark.parametrize("table", ["evaluations", "examples"])
def test_a_metric_takes_the_place_of_no_column(trial, table):
    """As one of a plugin of an older version might, of which nothing was checked."""
    record = evaluation_record(3) if table == "evaluations" else example_record(3, "verses-000000", nll=1.0)
    metrics = {"step": 9.0, "seed": 7.5, "forget_set": 1.0, "learning_rate": 0.5, "mine": 2.0}
    file = TrialFiles(trial).file(table, [replace(record, metrics=metrics)])
    (row,) = pq.read_table(io.BytesIO(file)).to_pylist()
    assert (row["step"], *(row[name] for name in EXAMPLES_WHO)) == (3, *(trial[name] for name in EXAMPLES_WHO))
    assert dict(row["other_metrics"]) == {name: value for name, value in metrics.items() if name != "step"}


@pytest.fixture
def versions(trial, monkeypatch):
    """The versions of a file that grows by twelve steps, from a size so small that it doubles more than once."""
    monkeypatch.setattr(parquet, "SMALLEST", 2**13)
    rows = TrialFiles(trial)
    records = [example_record(step, f"verses-{i:06d}", nll=step + i / 7) for step in range(12) for i in range(128)]
    return [rows.file("examples", records[: 128 * steps]) for steps in range(13)]


def test_rows_stand_where_the_footer_of_any_earlier_version_says(versions):
    """A reader that opens a file twice may have the footer of one version, and the rows of a later one."""
    for earlier, later in itertools.combinations(versions, 2):
        assert_readable_with_the_footer_of(earlier, later)


@pytest.mark.parametrize("size", [2**13, 2**16])
def test_the_last_file_is_one_row_group_and_a_trial_that_goes_on_begins_behind_it(trial, monkeypatch, size):
    """As one does whose steps were extended: the process that goes on has only the records, and the visible file."""
    monkeypatch.setattr(parquet, "SMALLEST", size)
    records = [example_record(step, f"verses-{i:06d}", nll=step + i / 7) for step in range(12) for i in range(3)]
    first, second = TrialFiles(trial), TrialFiles(trial)
    versions = [first.file("examples", records[: 3 * steps], last=steps == 6) for steps in (4, 5, 6)]
    assert pq.read_metadata(io.BytesIO(versions[-1])).num_row_groups == 1
    second.take_up("examples", versions[-1], records[:18])
    versions += [second.file("examples", records[: 3 * steps], last=steps == 12) for steps in (7, 8, 12)]
    assert pq.read_metadata(io.BytesIO(versions[-1])).num_row_groups == 1
    assert [read(version).num_rows for version in versions] == [12, 15, 18, 21, 24, 36]
    for earlier, later in itertools.combinations(versions, 2):
        assert_readable_with_the_footer_of(earlier, later)
    for earlier, later in itertools.pairwise(versions):
        assert_may_replace(earlier, later)


def test_a_trial_that_ends_after_its_last_rows_has_one_row_group_too(trial):
    rows = TrialFiles(trial)
    grown = rows.file("examples", RECORDS)
    ended = rows.file("examples", RECORDS, last=True)
    assert [pq.read_metadata(io.BytesIO(file)).num_row_groups for file in (grown, ended)] == [4, 1]
    assert read(ended).equals(read(grown))
    assert_may_replace(grown, ended)
    assert rows.file("examples", RECORDS, last=True) == ended


def test_one_that_goes_on_after_a_kill_writes_the_bytes_of_one_that_was_not_killed(trial):
    killed, other = TrialFiles(trial), TrialFiles(trial)
    other.take_up("examples", killed.file("examples", RECORDS[:6]), RECORDS[:6])
    assert other.file("examples", RECORDS, last=True) == TrialFiles(trial).file("examples", RECORDS, last=True)


def test_a_trial_that_is_taken_up_again_and_again_does_not_drag_along_its_past_for_ever(trial):
    visible, sizes = None, []
    for _ in range(20):
        rows = TrialFiles(trial)
        rows.take_up("examples", visible, RECORDS)
        rows.file("examples", RECORDS[:6])  # another worker's rows
        visible = rows.file("examples", [example_record(9), *RECORDS[6:]], last=True)
        sizes.append(len(visible))
    assert max(sizes) <= 10 * sizes[0]


def test_a_footer_stands_where_the_size_of_any_earlier_version_says(versions):
    """A reader may have the size of one version, and read the footer of a later one there."""
    assert len({len(version) for version in versions}) >= 3, "it doubled twice"
    assert len({len(version) for version in versions}) < len(versions), "and stayed as it was in between"
    tables = [pq.read_table(io.BytesIO(version)) for version in versions]
    for (earlier, table), (later, _) in itertools.combinations(zip(versions, tables, strict=True), 2):
        rows = pq.read_table(io.BytesIO(later[: len(earlier)]))
        assert rows.num_rows >= table.num_rows
        assert rows.equals(tables[rows.num_rows // 128])


def test_only_a_file_that_serves_readers_of_another_may_replace_it(versions, trial):
    for earlier, later in itertools.combinations(versions, 2):
        assert may_replace(earlier, later)
        assert not may_replace(later, earlier)
    other = TrialFiles(trial).file("examples", [example_record(0, "another")])
    assert not may_replace(versions[1], other), "other rows"
    assert not may_replace(versions[-1], versions[-1][:-8]), "a size that leads beyond its end"
    assert may_replace(b"of no reader", other)


def test_a_replaced_row_stands_behind_the_one_before(ledger, tmp_path):
    trial = make_trial()
    versions = []
    for proposal in ({**PROPOSAL, "number": 1}, {**PROPOSAL, "number": 2}):
        if not versions:
            DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=proposal)
        else:
            DriverWriter(ledger).propose_again(trial, proposal)
        versions.append(ledger.storage.read(f"trials/{trial.trial_id}.parquet"))
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [], outcome(last_step=0))
    versions.append(ledger.storage.read(f"trials/{trial.trial_id}.parquet"))
    for earlier, later in itertools.combinations(versions, 2):
        assert_readable_with_the_footer_of(earlier, later)
    assert ledger.trial(trial.trial_id)["status"] == "completed"


def test_replaced_rows_do_not_drag_along_their_past_for_ever():
    rows = to_table(TABLES["trials"], [{"trial_id": "a", "config": "x" * 1000}])
    content, sizes = None, []
    for _ in range(60):
        content = encode(rows, after=content)
        sizes.append(len(content))
    assert max(sizes) < AFTER_AT_MOST + 2 * sizes[0]
    assert read(content, "trials").to_pylist() == rows.to_pylist()


def assert_may_replace(earlier, later):
    """A reader may open the earlier file for its size or its footer, and the later one for the rest."""
    assert_readable_with_the_footer_of(earlier, later)
    found = pq.read_table(io.BytesIO(later[: len(earlier)]))  # the earlier file, or a version between
    whole = [pq.read_table(io.BytesIO(file)).slice(0, found.num_rows) for file in (earlier, later)]
    assert found.num_rows and any(found.equals(rows) for rows in whole)


def assert_readable_with_the_footer_of(earlier, later):
    footer = pq.read_metadata(io.BytesIO(earlier))
    found = pq.ParquetFile(io.BytesIO(later), metadata=footer, page_checksum_verification=True).read()
    assert found.equals(pq.read_table(io.BytesIO(earlier)))


def read(content, name="examples"):
    rows, _ = decode(content, name, TABLES[name], find_trial=lambda _: None)
    return rows


@pytest.mark.parametrize("changed", ["replaced", "fewer", "in another order"])
def test_records_that_are_not_those_of_before_are_converted_anew(trial, changed):
    rows = TrialFiles(trial)
    before = rows.file("examples", RECORDS)
    now = {
        "replaced": [example_record(0, "other", nll=9.0), *RECORDS[1:]],
        "fewer": RECORDS[:5],
        "in another order": RECORDS[::-1],
    }[changed]
    changed_file = rows.file("examples", now)
    assert read(changed_file).equals(read(TrialFiles(trial).file("examples", now)))
    assert_may_replace(before, changed_file)


def test_tables_grow_apart(trial):
    rows = TrialFiles(trial)
    rows.file("examples", RECORDS)
    evaluations = read(rows.file("evaluations", [evaluation_record(0)]), "evaluations")
    assert evaluations.schema.equals(TABLES["evaluations"], check_metadata=True)
    assert evaluations["step"].to_pylist() == [0]


def test_a_commit_of_a_growing_trial_parses_nothing_and_writes_the_bytes_of_a_trial_published_whole(
    tmp_path, monkeypatch
):
    """It looks at the file that it replaces, which is the one that it wrote."""
    trial = make_trial()
    evaluations = [evaluation_record(step) for step in range(4)]
    ledgers = [Ledger(storage=LocalStorage(tmp_path / name), sweep="tiny") for name in ("grown", "whole")]
    for ledger in ledgers:
        DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    grown, whole = map(TrialWriter, ledgers)
    grown.publish(trial.trial_id, evaluations[:1], RECORDS[:3], None)
    with monkeypatch.context() as patch:
        patch.setattr(table_files, "decode", lambda *_, **__: pytest.fail("a file was parsed"))
        for count in (2, 3, 4):
            grown.publish(trial.trial_id, evaluations[:count], RECORDS[: 3 * count], None)
    whole.publish(trial.trial_id, evaluations, RECORDS, None)
    for name in ("evaluations", "examples"):
        files = [(tmp_path / folder / name / f"{trial.trial_id}.parquet").read_bytes() for folder in ("grown", "whole")]
        assert files[0] == files[1]


def test_the_outcome_goes_into_the_trials_row_as_it_is_by_then(ledger):
    trial = make_trial()
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal={**PROPOSAL, "number": 1})
    worker = TrialWriter(ledger)
    worker.publish(trial.trial_id, [evaluation_record(0)], [], outcome(last_step=0))
    DriverWriter(Ledger(storage=ledger.storage, sweep="tiny")).propose_again(
        make_trial(steps=(0, 2, 5, 9)), {**PROPOSAL, "number": 2}
    )
    worker.publish(trial.trial_id, [evaluation_record(0)], [], outcome(last_step=0))
    row = ledger.trial(trial.trial_id)
    assert (row["target_step"], [entry["number"] for entry in json.loads(row["proposals"])]) == (9, [1, 2])


def test_trials_of_one_worker_do_not_mix(ledger):
    trials = [make_trial(seed=seed) for seed in range(2)]
    for trial in trials:
        DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    worker = TrialWriter(ledger)
    for count in (1, 2):
        for trial in trials:
            worker.publish(trial.trial_id, [evaluation_record(step) for step in range(count)], [], None)
    assert sorted(ledger.table("evaluations")["seed"].to_pylist()) == [0, 0, 1, 1]


def test_another_process_begins_anew(trial):
    last = LastTrial()
    last.files("t", lambda _: trial)
    read = []
    pickle.loads(pickle.dumps(last)).files(trial["trial_id"], lambda name: (read.append(name), trial)[1])
    assert read == [trial["trial_id"]]


def test_tables_gathered_are_their_rows_in_order_in_few_chunks(trial):
    gathered = TableBuilder()
    tables = [read(TrialFiles(trial).file("examples", [example_record(n)])) for n in range(TABLES_AT_ONCE + 2)]
    for table in tables:
        gathered.add(table)
    assert gathered.count == len(tables)
    assert gathered.table().equals(pa.concat_tables(tables), check_metadata=True)
    assert gathered.table()["step"].num_chunks == 3


def test_a_writer_goes_to_another_process_with_its_ledger_and_without_the_rows_it_remembers(ledger):
    trial = make_trial()
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    worker = TrialWriter(ledger)
    worker.publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], None)
    there = pickle.loads(pickle.dumps(worker))
    there.publish(trial.trial_id, [evaluation_record(0), evaluation_record(2)], [example_record(0)], outcome())
    assert (there.ledger.sweep, there.ledger.driver) == (ledger.sweep, ledger.driver)
    assert sorted(ledger.table("evaluations")["step"].to_pylist()) == [0, 2]
    assert ledger.trial(trial.trial_id)["status"] == "completed"
