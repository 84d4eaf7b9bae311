"""A sweep of users' own files, from the spec to a trial; without Ray."""

import pickle
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import yaml

from orchestrator.cli import main
from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.ledger.layout import FORGET_EXAMPLES_FILE
from orchestrator.ledger.schema import FORGET_EXAMPLES, VERSION_KEY
from orchestrator.ledger.tables.parquet import encode
from orchestrator.plan import plan_sweep, time_steps
from orchestrator.preparation import ModelCache, build_workload, count_sets, train_model
from orchestrator.preparation.model_identity import model_tasks
from orchestrator.run.doctor import _data
from orchestrator.run.session import forget_example_rows
from orchestrator.spec import amend_spec, dump_spec
from orchestrator.spec.loading import validate_spec
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec, spec_data
from tests.support import MemorySink, deterministic, run_to_end, tiny_architecture, tiny_trial
from tests.trainables.files import own_cache, pairs, write_rows
from trainables.data import build_datasets
from trainables.encoding import StreamedSet
from trainables.trial import Engine

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def sections(tmp_path):
    """Sections of a spec, its files beside it."""
    write_rows(tmp_path / "forget.jsonl", pairs(5, "forget"))
    write_rows(tmp_path / "others.csv", pairs(6, "other"))
    write_rows(tmp_path / "retain.parquet", pairs(40, "retain"))
    write_rows(tmp_path / "heldout", pairs(7, "held"))
    secrets = {
        "distribution": "in",
        "source": {"path": str(tmp_path / "forget.jsonl")},
        "population_source": {"path": str(tmp_path / "others.csv")},
        "repetitions": [1, 4],
    }
    data = {
        "retain_source": {"path": str(tmp_path / "retain.parquet")},
        "retain": None,
        "heldout_source": {"path": str(tmp_path / "heldout")},
        "heldout": None,
        "forget_sets": {"secrets": secrets},
    }
    return {"data": data, "model": {"architecture": tiny_architecture()}, "preparation": {"references": 1}}


def prepared(spec, datasets, folder):
    """Train the models and build the workload, in this process."""
    cache, ledger = ModelCache(LocalStorage(folder)), Ledger(storage=LocalStorage(folder / "tiny"), sweep="tiny")
    tasks = model_tasks(spec, datasets)
    for task in tasks:
        assert train_model(*pickle.loads(pickle.dumps((spec, datasets, task))), cache, ledger) is None
    return tasks, pickle.loads(pickle.dumps(build_workload(spec, datasets, tasks, cache, ledger)[0]))


def test_a_sweep_on_files_gives_the_numbers_of_one_in_memory(sections, tmp_path):
    spec = make_spec(**sections)
    stored = build_datasets(spec.data)
    tasks, workload = prepared(spec, stored, tmp_path / "stored")
    listed = replace(stored, retain=tuple(stored.retain))
    other_tasks, other = prepared(spec, listed, tmp_path / "listed")
    assert isinstance(workload.retain, StreamedSet)
    assert {task.key for task in tasks}.isdisjoint(task.key for task in other_tasks)
    for name in ("base_logp_N", "reference_logp_SN"):
        found, expected = (getattr(w.evaluation_sets["secrets"], name) for w in (workload, other))
        np.testing.assert_array_equal(found, expected)
    trial = replace(tiny_trial(objective="gradient_difference", batch_size=3), forget_set="secrets")
    rows = []
    retain = replace(other, retain=workload.retain)  # what retain NLL is measured on is spread over the file
    for one in (workload, retain):
        results = MemorySink()
        run_to_end(Engine(one), trial, results)
        rows.append(deterministic(results.rows[trial.trial_id][1]))
    assert rows[0] == rows[1]


def test_keys_of_models_follow_what_they_are_trained_on_and_nothing_else(sections, tmp_path):
    spec = make_spec(**sections)
    keys = [task.key for task in model_tasks(spec, build_datasets(spec.data))]
    assert [task.key for task in model_tasks(spec, build_datasets(spec.data))] == keys
    alternate = make_spec(**sections)
    sets = {"secrets": spec.data.forget_sets["secrets"].model_copy(update={"alternate": " No."})}
    alternate = spec.model_copy(update={"data": spec.data.model_copy(update={"forget_sets": sets})})
    assert [task.key for task in model_tasks(alternate, build_datasets(alternate.data))] == keys
    write_rows(tmp_path / "forget.jsonl", pairs(5, "forgotten"))
    base, reference = (task.key for task in model_tasks(spec, build_datasets(spec.data)))
    assert (base != keys[0], reference) == (True, keys[1])
    write_rows(tmp_path / "retain.parquet", pairs(40, "retained"))
    assert [task.key for task in model_tasks(spec, build_datasets(spec.data))][1] != keys[1]


def test_a_plan_counts_what_stands_in_the_files(sections):
    spec = make_spec(**sections)
    plan = plan_sweep(spec, concurrent_trials=1, times=time_steps(spec, sizes=count_sets(spec)))
    assert plan.training_steps == 2 * 2 * ((40 + 3 * 1 + 2 * 4) // 10)
    assert _data(spec) == "secrets: 5 to forget, population 6"


def test_the_texts_that_are_unlearned_carry_their_repetitions(sections):
    rows = forget_example_rows(build_datasets(make_spec(**sections).data).forget_sets)
    assert sorted(row["repetitions"] for row in rows) == [1, 1, 1, 4, 4]
    assert {row["example_id"] for row in rows} == {f"forget.jsonl:{line}" for line in range(1, 6)}


def test_texts_of_a_ledger_from_before_there_were_repetitions_read_back(tmp_path):
    old = pa.schema([field for field in FORGET_EXAMPLES if field.name not in ("repetitions", "replicate")])
    old = old.with_metadata({VERSION_KEY: b"2"})
    row = {"forget_set": "secrets", "example_id": "secrets-000000", "prompt": "", "completion": "a"}
    (tmp_path / "references").mkdir()
    (tmp_path / FORGET_EXAMPLES_FILE).write_bytes(encode(pa.Table.from_pylist([row], schema=old)))
    read = Ledger(storage=LocalStorage(tmp_path), sweep="old").forget_examples()
    assert read.to_pylist() == [{**row, "replicate": 0, "repetitions": None}]


def test_a_spec_with_files_reads_back_equal(sections):
    spec = make_spec(**sections)
    assert validate_spec(yaml.safe_load(dump_spec(spec)), "stored") == spec
    assert amend_spec(spec, ["data.retain_source.split=train"]).data.retain_source.split == "train"


@pytest.mark.parametrize("command", [["plan"], ["doctor"], ["run", "--executor", "inline"]])
def test_a_mistake_in_a_file_is_one_message(sections, tmp_path, monkeypatch, capsys, command):
    (tmp_path / "forget.jsonl").write_bytes(b'{"prompt": "p", "completion": "c"}\n{"prompt"\n')
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(spec_data(**sections)))
    storage = [] if command[0] == "plan" else ["--storage", str(tmp_path)]
    monkeypatch.setattr("orchestrator.run.doctor.ray_session", no_cluster)
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", command[0], str(spec), *command[1:], *storage])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    said = " ".join((out + err).split())
    assert "data.forget_sets.secrets.source: " in said
    assert "forget.jsonl:2: not JSON:" in said
    assert "Traceback" not in said


def no_cluster(*_, **__):
    raise SweepError("no cluster in this test")
