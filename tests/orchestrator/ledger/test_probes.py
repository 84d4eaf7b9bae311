"""The files of probes: what they hold, and what becomes of those that are damaged or old."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.driver import Interrupt, driven_s, lease
from orchestrator.errors import LedgerWarning, RunStoppedError
from orchestrator.ledger import EVALUATIONS, Ledger, repair_ledger
from orchestrator.ledger.schema import PROBES, VERSION_KEY
from orchestrator.ledger.tables.checked_rows import find_problem
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec, measured, write_control, write_probe, write_sweep

OF_TRIAL = (
    "trial_id", "stratum", "forget_set", "distribution", "seed", "replicate", "objective", "optimizer",
    "learning_rate",
)  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path, make_spec())


def only_file(ledger):
    (path,) = ledger.storage.files("probes", ".parquet")
    return LocalStorage(Path(ledger.storage.uri)), path


def test_a_row_has_what_the_trial_has_and_what_was_measured_before_and_after(sweep):
    trial = sweep.trials()[0]
    found = measured(scores={"share": 0.5, "regained": 0.25})
    write_probe(sweep, trial, 5, [found, measured("int8", 8.0)], settings={"bits": [4, 8]})
    first, second = sweep.probes().to_pylist()
    assert {name: first[name] for name in OF_TRIAL} == {name: trial[name] for name in OF_TRIAL}
    assert (first["sweep"], first["step"], first["role"], first["probe"]) == ("tiny", 5, "unlearned", "quantization")
    assert json.loads(first["probe_settings"]) == {"bits": [4, 8]}
    assert dict(first["scores"]) == {"share": 0.5, "regained": 0.25}
    assert (second["variant"], second["amount"]) == ("int8", 8.0)
    skip = {"step", "tokens_seen", "elapsed_s"}
    for prefix, record in (("", found.after), ("before_", found.before)):
        expected = {f"{prefix}{name}": value for name, value in record.columns().items() if name not in skip}
        assert expected.pop(f"{prefix}own_metric") == 0.5
        assert first[f"{prefix}other_metrics"] == [("own_metric", 0.5)], "it has no column of its own"
        assert {name: first[name] for name in expected} == expected


def test_every_measured_column_of_an_evaluation_is_there_twice():
    not_measured = {*OF_TRIAL, "sweep", "batch_size", "settings", "setting_id", "step", "tokens_seen", "elapsed_s"}
    for column in EVALUATIONS:
        if column.name not in not_measured:
            for name in (column.name, f"before_{column.name}"):
                assert PROBES.field(name).type == column.type
                assert PROBES.field(name).metadata[b"unit"] == column.metadata[b"unit"]


def test_a_control_has_a_forget_set_and_no_trial(sweep):
    write_control(sweep, "reference-0", [measured()])
    (row,) = sweep.probes().to_pylist()
    assert (row["role"], row["forget_set"], row["replicate"]) == ("reference-0", "verses", 0)
    assert [row[name] for name in ("trial_id", "step", "seed", "objective", "learning_rate")] == [None] * 5


def test_what_measures_something_else_has_scores_alone(sweep):
    write_probe(sweep, sweep.trials()[0], 5, [measured("arc", None, before=None, after=None, scores={"acc": 0.5})])
    (row,) = sweep.probes().to_pylist()
    assert (row["performance"], row["before_performance"], dict(row["scores"])) == (None, None, {"acc": 0.5})


def test_publishing_again_replaces_the_file(sweep):
    trial = sweep.trials()[0]
    for bits in ([8], [4]):
        write_probe(sweep, trial, 5, [measured()], settings={"bits": bits})
    (row,) = sweep.probes().to_pylist()
    assert json.loads(row["probe_settings"]) == {"bits": [4]}


def test_who_has_lost_the_sweep_writes_nothing(sweep):
    with lease(sweep.storage, "tiny", Interrupt()) as held:
        mine = Ledger(storage=sweep.storage, sweep="tiny", driver=held.number)
    with lease(sweep.storage, "tiny", Interrupt()), pytest.raises(RunStoppedError, match="was taken over"):
        write_probe(mine, sweep.trials()[0], 5, [measured()])
    assert sweep.probes().num_rows == 0


def test_a_damaged_file_is_left_out_and_quarantined_by_a_resume(sweep):
    write_probe(sweep, sweep.trials()[0], 5, [measured()])
    storage, path = only_file(sweep)
    storage.publish(path, storage.read(path)[:-100])
    with pytest.warns(LedgerWarning, match="not a whole Parquet file"):
        assert sweep.probes().num_rows == 0
    with pytest.warns(LedgerWarning, match="quarantined"):
        repair_ledger(sweep)
    assert storage.files("probes", ".parquet") == {}
    assert storage.read(f"quarantine/{path}") is not None


def test_an_older_file_gets_the_columns_that_it_lacks(sweep):
    write_probe(sweep, sweep.trials()[0], 5, [measured(scores={"share": 0.5})])
    storage, path = only_file(sweep)
    rows = pq.read_table(f"{storage.uri}/{path}").drop_columns(["bleu", "before_bleu", "replicate"])
    rows = rows.replace_schema_metadata({VERSION_KEY: b"6"})
    pq.write_table(rows, f"{storage.uri}/{path}")
    (row,) = sweep.probes().to_pylist()
    assert row["replicate"] == 0
    assert (row["bleu"], row["before_bleu"], row["gen_ex"], dict(row["scores"])) == (None, None, 3.0, {"share": 0.5})
    repair_ledger(sweep)
    assert pq.read_schema(f"{storage.uri}/{path}").names == PROBES.names


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"trial_id": None}, "it has points without 'trial_id'"),
        ({"step": None}, "it has points without 'step'"),
        ({"role": "base"}, "it has models of no trial with 'trial_id'"),
        ({"probe_settings": "["}, "'probe_settings' is not valid JSON"),
        ({"probe_settings": "[]"}, "'probe_settings' is not what this tool writes"),
        ({"before_status": "odd"}, "'before_status' is 'odd'"),
        ({"variant": None}, "it has rows without 'variant'"),
        ({"amount": float("nan")}, "'amount' is no finite number"),
    ],
)
def test_rows_that_no_probe_writes_are_found(sweep, changes, problem):
    write_probe(sweep, sweep.trials()[0], 5, [measured()])
    (row,) = sweep.probes().to_pylist()
    assert find_problem("probes", pa.Table.from_pylist([row], schema=PROBES)) is None
    assert problem in find_problem("probes", pa.Table.from_pylist([{**row, **changes}], schema=PROBES))
    assert "twice" in find_problem("probes", pa.Table.from_pylist([row, row], schema=PROBES))


def test_the_time_of_probing_is_not_the_searchs(sweep):
    seconds = iter(range(0, 1000, 10))
    for probing in (False, True):
        with lease(sweep.storage, "tiny", Interrupt(), probing=probing, clock=lambda: next(seconds)):
            pass
    assert 0 < driven_s(sweep.storage, before=None) == driven_s(sweep.storage, before=2)
