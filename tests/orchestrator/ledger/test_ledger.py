"""The ledger: round trips, schemas, plain readers at any moment, and writers that are killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import LedgerWarning, SweepError
from orchestrator.frontier import frontiers
from orchestrator.frontier.summary import floor_note
from orchestrator.identity import canonical_json
from orchestrator.ledger import BASELINES, SCHEMA_VERSION, DriverWriter, Ledger, TrialWriter, repair_ledger, to_table
from orchestrator.ledger.schema import EXAMPLES_WHO, TABLES, VERSION_KEY
from orchestrator.ledger.tables.parquet import UnreadableFileError, decode, encode
from orchestrator.monitor import status_text, sweep_status
from orchestrator.query import query
from orchestrator.report import write_report
from orchestrator.search import SweepSearch
from orchestrator.spec import amend_spec
from orchestrator.spec.loading import validate_spec
from orchestrator.storage import LocalStorage
from orchestrator.yaml_text import parse_yaml
from tests.orchestrator.helpers import (
    Driver,
    evaluation_record,
    example_record,
    make_search,
    make_spec,
    make_trial,
    memory_ledger,
    outcome,
    write_sweep,
)
from trainables.records import TIMES, Status

REPOSITORY = Path(__file__).parents[3]
CONTRACT = {
    "evaluations": [
        "sweep",
        "trial_id",
        "stratum",
        "forget_set",
        "distribution",
        "seed",
        "objective",
        "optimizer",
        "learning_rate",
        "batch_size",
        "settings",
        "setting_id",
        "step",
        "status",
        "forget_nll",
        "gen_ex",
        "gen_ex_abs",
        "gen_ex_per_token",
        "rel_ex",
        "extraction_rate",
        "membership_auc",
        "retain_nll",
        "heldout_nll",
        "heldout_perplexity",
        "bleu",
        "chrf",
        "unlearning_quality",
        "performance",
        "tokens_seen",
        "elapsed_s",
    ],
    "examples": [
        "trial_id",
        "step",
        "example_id",
        "num_tokens",
        "nll",
        "gen_ex",
        "rel_ex",
        "memorization",
        "difficulty",
    ],
}
"""DESIGN.md section 5, copied by hand: readers outside rely on it."""


def proposed(ledger, *, seed=0, number=0, **config):
    trial = make_trial(seed=seed, **config)
    proposal = {"number": number, "point": {"a": 1}, "step_index": 2, "notes": {}}
    DriverWriter(ledger).propose(trial, number=number, distribution="in", proposal=proposal)
    return trial


def by_duckdb(folder, table):
    query = f"select * from read_parquet('{folder}/{table}/*.parquet')"
    return duckdb.sql(query).to_arrow_table().to_pylist()


def by_pandas(folder, table):
    frames = [pd.read_parquet(path) for path in sorted((Path(folder) / table).glob("*.parquet"))]
    return pd.concat(frames).to_dict("records")


def by_dataset(folder, table):
    return ds.dataset(f"{folder}/{table}", format="parquet").to_table().to_pylist()


def by_polars(folder, table):
    return pl.read_parquet(f"{folder}/{table}/*.parquet").to_dicts()


READERS = [by_duckdb, by_pandas, by_dataset, by_polars]


def test_a_proposal_is_a_row_without_status(ledger):
    trial = proposed(ledger, seed=3, number=7, optimizer="sgd", clip_norm=1.0)
    (row,) = ledger.trials()
    expected = {
        "sweep": "tiny",
        "trial_id": trial.trial_id,
        "stratum": "verses/seed=3",
        "forget_set": "verses",
        "distribution": "in",
        "seed": 3,
        "number": 7,
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "batch_size": 4,
        "clip_norm": 1.0,
        "target_step": 5,
        "horizon": None,
        "status": None,
        "last_step": None,
        "ended_at": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["config"]) == trial.config.model_dump(mode="json")
    assert json.loads(row["proposals"]) == [{"number": 7, "point": {"a": 1}, "step_index": 2, "notes": {}}]


def test_what_is_published_is_read_back(ledger):
    trial = proposed(ledger)
    evaluations = [evaluation_record(0, gen_ex=0.1), evaluation_record(2, status=Status.COLLAPSED, quality=1 / 3)]
    examples = [example_record(0, "a"), example_record(2, "a", nll=1e-300)]
    TrialWriter(ledger).publish(trial.trial_id, evaluations, examples, None)
    assert ledger.published(trial.trial_id) == (evaluations, examples)
    assert ledger.trial(trial.trial_id)["status"] is None
    (row, _) = sorted(ledger.table("evaluations").to_pylist(), key=lambda row: row["step"])
    assert (row["sweep"], row["stratum"], row["learning_rate"]) == ("tiny", "verses/seed=0", 1e-3)


def test_a_worker_taken_for_dead_that_publishes_late_takes_no_row_back(ledger):
    """Its raylet is gone, and another worker has gone further with its trial."""
    late, following = (TrialWriter(Ledger(storage=ledger.storage, sweep=ledger.sweep)) for _ in range(2))
    trial_id = proposed(ledger).trial_id
    records = [(evaluation_record(step), example_record(step)) for step in (0, 2, 5)]

    def publish(worker, number, status=None):
        evaluations, examples = zip(*records[:number], strict=True)
        worker.publish(trial_id, list(evaluations), list(examples), outcome(status) if status else None)

    publish(late, 1)
    publish(following, 2)
    publish(late, 1)
    assert [len(part) for part in ledger.published(trial_id)] == [2, 2]
    publish(following, 3, Status.COMPLETED)
    publish(late, 2)
    publish(late, 2, Status.STOPPED)
    evaluations, examples = ledger.published(trial_id)
    assert (evaluations, examples) == ([e for e, _ in records], [e for _, e in records])
    assert ledger.trial(trial_id)["status"] == "completed"


def test_what_was_never_published_is_empty(ledger):
    assert ledger.published("0" * 16) == ([], [])
    assert ledger.trials() == []
    assert ledger.table("examples").num_rows == 0


def test_only_the_columns_asked_for_are_read(ledger):
    trial = proposed(ledger)
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [], None)
    assert ledger.table("evaluations", ["step"]).column_names == ["step"]


@pytest.mark.parametrize("status", list(Status))
def test_the_outcome_closes_the_row_and_keeps_the_proposal(ledger, status):
    trial = proposed(ledger)
    before = ledger.trial(trial.trial_id)
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [], outcome(status, last_step=0, message="why"))
    after = ledger.trial(trial.trial_id)
    assert (after["status"], after["last_step"], after["message"], after["elapsed_s"]) == (status.value, 0, "why", 4.5)
    assert after["ended_at"] >= after["started_at"] == before["started_at"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"status", "last_step", "message", "elapsed_s", *TIMES, "ended_at"}
    assert [after[name] for name in TIMES] == [0.5, 1.0, 2.0, 0.25, 0.125]


def test_a_failure_keeps_the_published_rows(ledger):
    trial = proposed(ledger)
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0), evaluation_record(5)], [], None)
    DriverWriter(ledger).fail(trial.trial_id, "the worker died")
    row = ledger.trial(trial.trial_id)
    assert (row["status"], row["last_step"], row["message"], row["elapsed_s"]) == ("failed", 5, "the worker died", 2.5)
    assert len(ledger.published(trial.trial_id)[0]) == 2


def test_a_failure_before_the_first_evaluation(ledger):
    trial = proposed(ledger)
    DriverWriter(ledger).fail(trial.trial_id, "no model")
    assert (ledger.trial(trial.trial_id)["status"], ledger.trial(trial.trial_id)["last_step"]) == ("failed", 0)


def test_trials_come_by_stratum_and_number(ledger):
    for seed, number in ((1, 0), (0, 1), (1, 1), (0, 0)):
        proposed(ledger, seed=seed, number=number, batch_size=number + 1)
    assert [(r["seed"], r["number"]) for r in ledger.trials()] == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("table", CONTRACT)
def test_the_files_hold_every_column_of_the_contract(ledger, tmp_path, table):
    trial = proposed(ledger)
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], None)
    names = pq.read_schema(tmp_path / "tiny" / table / f"{trial.trial_id}.parquet").names
    assert set(CONTRACT[table]) <= set(names)


@pytest.mark.parametrize("table", [*TABLES, "baselines", "forget_sets"])
def test_files_say_their_version_units_and_meanings(ledger, tmp_path, table):
    trial = proposed(ledger)
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], None)
    DriverWriter(ledger).publish_baselines([])
    DriverWriter(ledger).publish_forget_examples([])
    path = f"{table}/{trial.trial_id}.parquet" if table in TABLES else f"references/{table}.parquet"
    schema = pq.read_schema(tmp_path / "tiny" / path)
    assert schema.metadata[VERSION_KEY] == str(SCHEMA_VERSION).encode()
    for column in schema:
        assert column.metadata[b"meaning"], column.name
        assert b"unit" in column.metadata, column.name
        if re.search(r"_nll$|^nll$", column.name):
            assert column.metadata[b"unit"] == b"nats/token"
        if re.search(r"^(gen_ex(_abs|_max|_p95)?|rel_ex(_skew_normal|_max|_p95)?)$", column.name):
            assert column.metadata[b"unit"] == b"bits"
        if column.name.endswith("_s"):
            assert column.metadata[b"unit"] == b"seconds"


def test_a_column_that_the_schema_lacks_is_our_bug():
    with pytest.raises(AssertionError, match="not in the schema: \\['oops'\\]"):
        to_table(TABLES["trials"], [{"trial_id": "x", "oops": 1}])


def test_baselines_read_back(ledger):
    assert ledger.baselines().rows == []
    row = {
        "model": "base",
        "forget_set": "verses",
        "replicate": 0,
        "performance": 3.0,
        "unlearning_quality": 1.5,
        "rel_ex": 2.0,
    }
    DriverWriter(ledger).publish_baselines([row])
    (read,) = ledger.baselines().rows
    assert {name: read[name] for name in row} == row
    assert set(read) == set(BASELINES.names)


def test_the_texts_that_are_unlearned_read_back(ledger):
    assert ledger.forget_examples().num_rows == 0
    texts = {"prompt": "", "completion": "<b>\u2028\0"}
    row = {"forget_set": "verses", "replicate": 0, "example_id": "verses-000000", **texts, "repetitions": 4}
    DriverWriter(ledger).publish_forget_examples([row])
    assert ledger.forget_examples().to_pylist() == [row]


def test_a_sweep_exists_once_its_spec_does(ledger):
    assert (ledger.manifest.spec_text(), ledger.manifest.read()) == (None, {})
    order = []

    class Watched(LocalStorage):
        def publish(self, path, content):
            order.append(path)
            super().publish(path, content)

    watched = Ledger(storage=Watched(Path(ledger.storage.uri)), sweep="tiny")
    watched.manifest.create("name: tiny\n", {"b": 1, "a": 2}, {"python": "3.11"})
    assert order[-1] == "spec.yaml"
    assert ledger.manifest.spec_text() == "name: tiny\n"
    assert ledger.manifest.read() == {"a": 2, "b": 1, "python": "3.11"}


def test_a_sweep_that_goes_on_keeps_what_it_began_with_and_notes_each_session(ledger):
    for number in range(3):
        ledger.manifest.create("name: tiny\n", {"seed": 1}, {"session": number})
    assert ledger.manifest.read() == {"seed": 1, "session": 0, "resumed": [{"session": 1}, {"session": 2}]}


def test_what_the_data_settles_is_written_over_what_was_begun_without_it(ledger):
    ledger.manifest.create("steps: [1]\n", {"seed": 1}, {"session": 0})
    ledger.manifest.create("steps: [1]\n", {"seed": 1}, {"session": 1})
    ledger.manifest.describe("steps: [1, 2]\n", {"seed": 1, "data_hash": "a"})
    assert ledger.manifest.spec_text() == "steps: [1, 2]\n"
    assert ledger.manifest.read() == {"seed": 1, "data_hash": "a", "session": 0, "resumed": [{"session": 1}]}


def test_a_sweep_that_cannot_be_is_taken_back(ledger):
    ledger.manifest.create("name: tiny\n", {"seed": 1}, {"session": 0})
    ledger.manifest.withdraw()
    assert ledger.manifest.spec_text() is None
    assert ledger.manifest.read() == {}


def test_the_outcome_is_published_after_the_rows_it_speaks_of():
    """So that a trial seen as completed has all its rows."""
    ledger = memory_ledger()
    trial = proposed(ledger)
    order = []
    publish = ledger.storage.publish
    ledger.storage.publish = lambda path, content: (order.append(path.partition("/")[0]), publish(path, content))
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], outcome())
    assert order == ["examples", "evaluations", "trials"]


def test_checkpoints_are_replaced_and_discarded(ledger):
    assert ledger.load_checkpoint("t") is None
    TrialWriter(ledger).save_checkpoint("t", b"one")
    TrialWriter(ledger).save_checkpoint("t", b"two")
    assert ledger.load_checkpoint("t") == b"two"
    TrialWriter(ledger).discard_checkpoint("t")
    TrialWriter(ledger).discard_checkpoint("t")
    assert ledger.load_checkpoint("t") is None


@pytest.mark.parametrize("read", READERS)
def test_a_plain_reader_sees_every_row_once_while_a_trial_grows(ledger, tmp_path, read):
    folder = tmp_path / "tiny"
    trials = [proposed(ledger, seed=seed) for seed in range(2)]
    (folder / "evaluations").mkdir(exist_ok=True)
    expected = {"trials": {(t.trial_id,) for t in trials}, "evaluations": set(), "examples": set()}
    for step in range(3):
        for trial in trials:
            evaluations = [evaluation_record(s, gen_ex=None if s else 1.0) for s in range(step + 1)]
            examples = [example_record(s, f"e{i}") for s in range(step + 1) for i in range(2)]
            TrialWriter(ledger).publish(
                trial.trial_id, evaluations, examples, outcome(last_step=2) if step == 2 else None
            )
            (folder / "evaluations" / ".x.parquet.0123abcd.tmp").write_bytes(b"PAR1 left by a crash")
            expected["evaluations"].add((trial.trial_id, step))
            expected["examples"] |= {(trial.trial_id, step, f"e{i}") for i in range(2)}
            keys = {"trials": ("trial_id",), "evaluations": ("trial_id", "step")}
            for table in TABLES:
                names = keys.get(table, ("trial_id", "step", "example_id"))
                seen = [tuple(row[name] for name in names) for row in read(folder, table)]
                assert len(seen) == len(set(seen)), f"{table}: a row twice"
                assert set(seen) == expected[table]


def test_publishing_again_changes_no_byte(tmp_path):
    ledger = Ledger(
        storage=LocalStorage(tmp_path / "tiny"), sweep="tiny", now=lambda: datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    )
    trial = proposed(ledger)
    rows = ([evaluation_record(0), evaluation_record(2)], [example_record(0)], outcome(last_step=2))

    def content():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    TrialWriter(ledger).publish(trial.trial_id, *rows)
    before = content()
    TrialWriter(ledger).publish(trial.trial_id, *rows)
    assert content() == before
    assert len(before) == 3


def flipped(content: bytes) -> bytes:
    """Flip one bit of a data page."""
    metadata = pq.ParquetFile(pa.BufferReader(content)).metadata
    column = metadata.row_group(metadata.num_row_groups - 1).column(13)
    at = column.data_page_offset + column.total_compressed_size - 1
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def every_file(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


DAMAGE = {
    "truncated": lambda content: content[:-20],
    "empty": lambda _: b"",
    "no parquet": lambda _: b"not parquet at all",
    "a bit flipped": flipped,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_and_left_where_it_is_and_the_rest_is_read(ledger, tmp_path, damage):
    good, bad = (proposed(ledger, seed=seed) for seed in (0, 1))
    for trial in (good, bad):
        TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], None)
    path = tmp_path / "tiny" / "evaluations" / f"{bad.trial_id}.parquet"
    content = damage(path.read_bytes())
    path.write_bytes(content)
    before = every_file(tmp_path)
    with pytest.warns(LedgerWarning, match=f"{re.escape(str(path))}: .*left out"):
        assert ledger.table("evaluations")["trial_id"].to_pylist() == [good.trial_id]
    assert list(ledger.skipped) == [f"evaluations/{bad.trial_id}.parquet"]
    assert every_file(tmp_path) == before
    with warnings.catch_warnings(action="error"):
        assert ledger.table("evaluations").num_rows == 1, "said once"
    aside = f"quarantine/evaluations/{bad.trial_id}.parquet"
    with pytest.warns(LedgerWarning, match=f"{re.escape(str(path))}: .*quarantined as {aside}"):
        repair_ledger(ledger)
    assert (tmp_path / "tiny" / aside).read_bytes() == content
    assert not path.exists()


ROWS = to_table(TABLES["evaluations"], [{"sweep": "a", "step": 1, "gen_ex": 0.5}, {"sweep": "b", "step": 2}])
CONTENT = encode(ROWS)


@given(at=st.integers(0, len(CONTENT) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_ever_changes_a_row(at, bit):
    damaged = CONTENT[:at] + bytes([CONTENT[at] ^ 1 << bit]) + CONTENT[at + 1 :]
    try:
        rows, _ = decode(damaged, "evaluations", TABLES["evaluations"], find_trial=lambda _: None)
    except (UnreadableFileError, SweepError):
        return
    assert rows.equals(ROWS)


def test_a_foreign_file_is_left_out_and_one_that_cannot_be_set_aside_too(ledger, tmp_path, monkeypatch):
    trial = proposed(ledger)
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], None)
    folder = tmp_path / "tiny" / "evaluations"
    pq.write_table(pa.table({"learning_rate": ["text"]}), folder / "stray.parquet")
    (folder / "trials.parquet").write_bytes((tmp_path / "tiny" / "trials" / f"{trial.trial_id}.parquet").read_bytes())
    with pytest.warns(LedgerWarning, match="left out"):
        assert ledger.table("evaluations").num_rows == 1
    monkeypatch.setattr(os, "replace", no_permission)
    with pytest.warns(LedgerWarning) as warned:
        repair_ledger(ledger)
    messages = sorted(str(warning.message) for warning in warned)
    assert len(messages) == 2
    assert "stray.parquet: no file of a ledger" in messages[0]
    assert "trials.parquet: not the columns of evaluations" in messages[1]
    assert all("left out, for it could not be moved" in message for message in messages)
    monkeypatch.undo()
    with pytest.warns(LedgerWarning, match="quarantined as quarantine"):
        repair_ledger(ledger)
    assert sorted(path.name for path in (tmp_path / "tiny/quarantine/evaluations").iterdir()) == [
        "stray.parquet",
        "trials.parquet",
    ]


def no_permission(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_a_file_of_a_newer_version_is_refused_and_left_where_it_is(ledger, tmp_path):
    trial = proposed(ledger)
    path = tmp_path / "tiny" / "trials" / f"{trial.trial_id}.parquet"
    newer = pq.read_table(path).replace_schema_metadata({VERSION_KEY: b"99"})
    pq.write_table(newer, path)
    with pytest.raises(SweepError, match=rf"{trial.trial_id}.parquet: trials: a file has schema version 99.*upgrade"):
        ledger.table("trials")
    assert path.exists()


@pytest.mark.parametrize("table", TABLES)
def test_a_resumed_sweep_runs_again_what_lost_its_rows(tmp_path, table):
    spec = make_spec()
    whole = write_sweep(tmp_path / "whole", spec)
    ledger = write_sweep(tmp_path / "damaged", spec)
    victim = sorted((tmp_path / "damaged" / "tiny" / table).iterdir())[1]
    victim.write_bytes(b"damaged")
    with pytest.warns(LedgerWarning, match=victim.name):
        repair_ledger(ledger)
    Driver(make_search(spec, ledger), ledger).run()
    for name in TABLES:
        assert same_rows(ledger, name) == same_rows(whole, name)


def same_rows(ledger, name):
    clocks = {"started_at", "ended_at", "host"}
    rows = ledger.table(name).to_pylist()
    return sorted(canonical_json({k: v for k, v in row.items() if k not in clocks}) for row in rows)


def copied_fixture(name, tmp_path):
    """Open a copy of a sweep that an older version has written."""
    folder = tmp_path / name
    shutil.copytree(Path(__file__).parent / "fixtures" / name, folder)
    return Ledger(storage=LocalStorage(folder), sweep=name)


@pytest.fixture
def version_1(tmp_path):
    """A sweep that was written when the schema had version 1."""
    return copied_fixture("version-1", tmp_path)


def test_files_of_version_1_are_read_through_the_migration(version_1):
    before = pq.read_table(Path(version_1.storage.uri) / "examples")
    assert "forget_set" not in before.column_names
    trials = {row["trial_id"]: row for row in version_1.trials()}
    examples = version_1.table("examples")
    assert examples.schema.equals(TABLES["examples"], check_metadata=True)
    assert examples.num_rows == before.num_rows > 0
    for row in examples.to_pylist():
        assert {name: row[name] for name in EXAMPLES_WHO} == {
            name: trials[row["trial_id"]][name] for name in EXAMPLES_WHO
        }
    for name in ("trials", "evaluations"):
        assert version_1.table(name).num_rows == pq.read_table(Path(version_1.storage.uri) / name).num_rows
    assert (
        {row["bleu"] for row in version_1.baselines().rows}
        == {row["chrf"] for row in version_1.baselines().rows}
        == {None}
    )


def test_a_sweep_of_version_1_goes_on_as_one_of_today(version_1):
    rows = {name: version_1.table(name) for name in TABLES}
    repair_ledger(version_1)
    spec = validate_spec(parse_yaml(version_1.manifest.spec_text(), "spec"), "spec")
    assert make_search(spec, version_1).is_exhausted(), "its trials are known by their ids"
    for name in TABLES:
        plain = pq.read_table(Path(version_1.storage.uri) / name, schema=TABLES[name])
        assert plain.equals(rows[name].replace_schema_metadata(plain.schema.metadata))
        files = Path(version_1.storage.uri, name).iterdir()
        assert {pq.read_schema(path).metadata[VERSION_KEY] for path in files} == {str(SCHEMA_VERSION).encode()}


@pytest.fixture
def version_3(tmp_path):
    """A sweep that was written when the schema had version 3."""
    return copied_fixture("version-3", tmp_path)


def test_rows_of_version_3_have_no_price_on_data_of_their_own_kind(version_3):
    for rows in (version_3.table("evaluations").to_pylist(), version_3.baselines().rows):
        assert rows
        assert {(row["population_nll"], row["distractor_nll"]) for row in rows} == {(None, None)}
    before = pq.read_table(Path(version_3.storage.uri) / "evaluations")
    assert version_3.table("evaluations").select(before.column_names).equals(before)


def test_reference_models_of_version_3_have_no_exposure_that_could_be_taken_for_a_floor(version_3):
    stored = pq.read_table(Path(version_3.storage.uri) / "references" / "baselines.parquet").to_pylist()
    measured = {"gen_ex", "gen_ex_abs", "gen_ex_per_token", "unlearning_quality"}
    for old, new in zip(stored, version_3.baselines().rows, strict=True):
        nulled = {name for name, value in old.items() if value is not None and new[name] is None}
        assert nulled == (measured if old["model"].startswith("reference") else set())


def test_a_sweep_of_version_3_is_read_reported_and_goes_on(version_3):
    (frontier,) = frontiers(version_3)
    assert frontier.floor.keys() & {"gen_ex", "rel_ex", "unlearning_quality"} == {"rel_ex"}
    assert [target.exposure_at_most for target in frontier.targets] == [16.0, 8.0, 4.0, 2.0]
    assert [crossing.population_cost for crossing in frontier.crossings["gen_ex"]] == [None]
    assert "an older version measured each against a mean that it was part of" in floor_note(frontier)
    write_report(version_3, images=False)
    (row,) = query([version_3], "select count(population_nll) as known from evaluations").to_pylist()
    assert row == {"known": 0}
    repair_ledger(version_3)
    spec = validate_spec(parse_yaml(version_3.manifest.spec_text(), "spec"), "spec")
    assert make_search(spec, version_3).is_exhausted(), "its trials are known by their ids"
    for name in TABLES:
        files = Path(version_3.storage.uri, name).glob("*.parquet")
        assert {pq.read_schema(path).metadata[VERSION_KEY] for path in files} == {str(SCHEMA_VERSION).encode()}


@pytest.fixture
def version_4(tmp_path):
    """A sweep that was written when the schema had version 4, by which no trial had a row of step 0 by itself."""
    return copied_fixture("version-4", tmp_path)


def test_rows_of_version_4_get_the_settings_of_their_trials(version_4):
    stored = {name: pq.read_table(Path(version_4.storage.uri) / name) for name in ("trials", "evaluations")}
    assert not {"settings", "setting_id"} & {column for table in stored.values() for column in table.column_names}
    trials = {row["trial_id"]: row for row in version_4.trials()}
    by_beta = {0.05: "npo beta=0.05 · adamw lr=0.001 · batch 4", 0.1: "npo beta=0.1 · adamw lr=0.001 · batch 4"}
    for row in trials.values():
        assert row["settings"] == by_beta[json.loads(row["config"])["objective_weights"]["beta"]]
    assert len(trials) == 4, "two settings, on two seeds each"
    assert len({row["setting_id"] for row in trials.values()}) == 2
    for row in version_4.table("evaluations").to_pylist():
        trial = trials[row["trial_id"]]
        assert (row["settings"], row["setting_id"]) == (trial["settings"], trial["setting_id"])
    for name, table in stored.items():
        assert version_4.table(name).select(table.column_names).equals(table)


@pytest.mark.parametrize("noted", [True, False])
def test_a_trial_of_version_4_without_its_row_has_settings_where_its_evaluations_note_them(version_4, noted):
    """Files that were rewritten by the version before do not."""
    (lost, *_) = [row["trial_id"] for row in version_4.trials()]
    before = version_4.trial(lost)
    (Path(version_4.storage.uri) / "trials" / f"{lost}.parquet").unlink()
    if not noted:
        path = Path(version_4.storage.uri) / "evaluations" / f"{lost}.parquet"
        rows = pq.read_table(path)
        pq.write_table(rows.replace_schema_metadata({VERSION_KEY: b"4"}), path)
    rows = version_4.table("evaluations").to_pylist()
    assert {row["trial_id"] for row in rows if row["setting_id"] is None} == (set() if noted else {lost})
    if not noted:
        return
    repair_ledger(version_4)
    assert version_4.trial(lost)["settings"] == before["settings"], "its evaluations say what was proposed"
    assert version_4.trial(lost)["setting_id"] == before["setting_id"]
    evaluations, examples = version_4.published(lost)
    TrialWriter(version_4).publish(lost, evaluations, examples, outcome(last_step=5))
    assert None not in version_4.table("evaluations")["setting_id"].to_pylist()


def test_a_configuration_that_this_version_cannot_read_is_no_damage(version_4):
    path = next(Path(version_4.storage.uri, "trials").iterdir())
    rows = pq.read_table(path)
    config = {**json.loads(rows["config"][0].as_py()), "of_the_future": 1}
    place = rows.column_names.index("config")
    pq.write_table(rows.set_column(place, "config", pa.array([canonical_json(config)])), path)
    assert version_4.trial(path.stem)["setting_id"] is None
    assert not version_4.skipped


def test_a_sweep_of_version_4_is_read_reported_and_goes_on(version_4):
    (frontier,) = frontiers(version_4)
    assert frontier.evaluations == 8
    write_report(version_4, images=False)
    sql = "select settings, count(distinct seed) as seeds from evaluations group by all order by all"
    assert [row["seeds"] for row in query([version_4], sql).to_pylist()] == [2, 2]
    rows = {name: version_4.table(name) for name in TABLES}
    repair_ledger(version_4)
    spec = validate_spec(parse_yaml(version_4.manifest.spec_text(), "spec"), "spec")
    assert make_search(spec, version_4).is_exhausted(), "its trials are known by their ids"
    for name in TABLES:
        plain = pq.read_table(Path(version_4.storage.uri) / name, schema=TABLES[name])
        assert plain.equals(rows[name].replace_schema_metadata(plain.schema.metadata))
        files = Path(version_4.storage.uri, name).glob("*.parquet")
        assert {pq.read_schema(path).metadata[VERSION_KEY] for path in files} == {str(SCHEMA_VERSION).encode()}


@pytest.fixture
def version_5(tmp_path):
    """A sweep that was written when the schema had version 5, before metrics were chosen."""
    return copied_fixture("version-5", tmp_path)


def test_rows_of_version_5_have_no_values_of_metrics(version_5):
    folder = Path(version_5.storage.uri)
    tables = {name: version_5.table(name) for name in TABLES}
    tables["baselines"] = pa.Table.from_pylist(version_5.baselines().rows, schema=BASELINES)
    for name, table in tables.items():
        stored = pq.read_table(folder / ("references/baselines.parquet" if name == "baselines" else name))
        assert table.select(stored.column_names).to_pylist() == stored.to_pylist()
        new = set(table.column_names) - set(stored.column_names)
        assert ("other_metrics" in new) == (name != "trials")
        assert all(table[column].null_count == len(table) for column in new - {"replicate"})


def test_a_sweep_of_version_5_is_read_reported_and_goes_on(version_5):
    assert [frontier.evaluations for frontier in frontiers(version_5)] == [14, 15]
    write_report(version_5, images=False)
    rows = query([version_5], "select count(gen_ex_p95) as known, count(*) as rows from evaluations").to_pylist()
    assert rows[0]["known"] == 0
    (lost, *_) = [row["trial_id"] for row in version_5.trials()]
    evaluations, examples = version_5.published(lost)
    assert {len(one.metrics) for one in (*evaluations, *examples)} == {0}
    repair_ledger(version_5)
    spec = validate_spec(parse_yaml(version_5.manifest.spec_text(), "spec"), "spec")
    assert make_search(spec, version_5).is_exhausted(), "its trials are known by their ids"
    for name in TABLES:
        files = Path(version_5.storage.uri, name).glob("*.parquet")
        assert {pq.read_schema(path).metadata[VERSION_KEY] for path in files} == {str(SCHEMA_VERSION).encode()}
    later = replace(evaluations[-1], step=99, metrics={"gen_ex_p95": 1.5, "own": 2.0})
    TrialWriter(version_5).publish(lost, [*evaluations, later], examples, None)
    known = [row for row in version_5.table("evaluations").to_pylist() if row["gen_ex_p95"] is not None]
    assert [(row["step"], row["gen_ex_p95"], row["other_metrics"]) for row in known] == [(99, 1.5, [("own", 2.0)])]
    assert version_5.published(lost)[0][-1] == later


@pytest.fixture
def version_6(tmp_path):
    """A sweep that was written when the schema had version 6, before replicates, with probes."""
    return copied_fixture("version-6", tmp_path)


def test_a_sweep_of_version_6_has_one_replicate_is_read_reported_and_goes_on(version_6):
    folder = Path(version_6.storage.uri)
    tables = {name: version_6.table(name) for name in TABLES}
    tables["references/baselines.parquet"] = pa.Table.from_pylist(version_6.baselines().rows, schema=BASELINES)
    tables["references/forget_sets.parquet"] = version_6.forget_examples()
    tables["probes"] = version_6.probes()
    for place, table in tables.items():
        stored = pq.read_table(folder / place)
        times = set(TIMES) if place == "trials" else set()
        assert set(table.column_names) - set(stored.column_names) == {"replicate", *times}, place
        assert table.select(stored.column_names).to_pylist() == stored.to_pylist(), place
        assert table["replicate"].to_pylist() == [0] * len(stored), place
    write_report(version_6, images=False)
    (lost, *_) = [row["trial_id"] for row in version_6.trials()]
    before = version_6.trial(lost)
    (folder / "trials" / f"{lost}.parquet").unlink()
    repair_ledger(version_6)
    assert not version_6.skipped
    restored = version_6.trial(lost)
    assert {name for name in before if before[name] != restored[name]} <= {
        "status", "last_step", "elapsed_s", "started_at", "ended_at", "host",
    }  # fmt: skip
    spec = validate_spec(parse_yaml(version_6.manifest.spec_text(), "spec"), "spec")
    search = make_search(amend_spec(spec, ["replicates=2"]), version_6)
    assert not search.superseded, "its trials are known by their ids"
    assert len(Driver(search, version_6).run()) == 3, "the trial that lost its row, and two of the new replicate"
    assert sorted(row["replicate"] for row in version_6.trials()) == [0, 0, 1, 1]
    for name in TABLES:
        files = folder.joinpath(name).glob("*.parquet")
        assert {pq.read_schema(path).metadata[VERSION_KEY] for path in files} == {str(SCHEMA_VERSION).encode()}


@pytest.fixture
def version_7(tmp_path):
    """A sweep that was written when the schema had version 7, before the times of a trial, with two replicates."""
    return copied_fixture("version-7", tmp_path)


def test_a_sweep_of_version_7_has_no_times_is_read_reported_and_goes_on(version_7):
    folder = Path(version_7.storage.uri)
    for name in TABLES:
        stored, table = pq.read_table(folder / name), version_7.table(name)
        assert set(table.column_names) - set(stored.column_names) == (set(TIMES) if name == "trials" else set())
        assert table.select(stored.column_names).to_pylist() == stored.to_pylist()
        assert all(table[column].null_count == len(table) for column in TIMES if column in table.column_names)
    status = sweep_status(version_7)
    assert (status["times"], status["steps_per_s"]) == (None, None)
    assert "time of trials" not in status_text(status)
    write_report(version_7, images=False)
    (lost, *_) = [row["trial_id"] for row in version_7.trials()]
    (folder / "trials" / f"{lost}.parquet").unlink()
    repair_ledger(version_7)
    spec = validate_spec(parse_yaml(version_7.manifest.spec_text(), "spec"), "spec")
    hashes = json.loads((folder / "sweep.json").read_text())["workload_hashes"]
    search = SweepSearch(spec, version_7, workload_hashes=hashes, concurrent_trials=1)
    assert not search.superseded, "its trials are known by their ids"
    assert Driver(search, version_7).run() == [lost], "the trial that lost its row"


def test_a_killed_writer_leaves_only_whole_files(tmp_path):
    """SIGKILL in the middle of publishing; readers look on all the time before, and after."""
    command = [sys.executable, "-m", "tests.orchestrator.ledger.ledger_writer", str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as writer:
        try:
            for _ in range(16):
                assert writer.stdout.readline(), "the writer ended by itself"
                check_whole(tmp_path)
        finally:
            writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    rows = check_whole(tmp_path)
    for read in READERS:
        assert len(read(tmp_path, "evaluations")) == rows
    ledger = Ledger(storage=LocalStorage(tmp_path), sweep="killed")
    for trial in ledger.trials():
        evaluations, examples = ledger.published(trial["trial_id"])
        assert {e.step for e in evaluations} <= {e.step for e in examples}, "examples are visible first"


def check_whole(folder):
    """Read every visible file whole; give the number of evaluations."""
    for path in folder.glob("examples/*.parquet"):
        assert pq.read_table(path).num_rows % 1500 == 0
    for path in folder.glob("evaluations/*.parquet"):
        steps = pq.read_table(path).column("step").to_pylist()
        assert steps == list(range(len(steps)))
    return duckdb.sql(f"select count(*) from read_parquet('{folder}/evaluations/*.parquet')").fetchall()[0][0]
