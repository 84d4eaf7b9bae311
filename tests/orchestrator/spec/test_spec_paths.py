"""Paths of a spec: absolute once it is read, so that they mean the same from every folder."""

from pathlib import Path

import pytest
import yaml

from orchestrator.preparation import datasets_of
from orchestrator.preparation.model_identity import model_tasks, workload_hash
from orchestrator.spec import amend_spec, compare, dump_spec, load_spec
from orchestrator.yaml_text import parse_yaml
from tests.orchestrator.helpers import spec_data
from tests.support import tiny_architecture, tiny_model, tiny_tokenizer
from tests.trainables.files import own_cache, pairs, write_rows
from trainables.models import save_model

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")

FILES = {"forget.jsonl": 5, "others.csv": 6, "retain.parquet": 40, "heldout.jsonl": 7}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with files of every source, and a model."""
    for name, count in FILES.items():
        write_rows(tmp_path / name, pairs(count, name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(**sections):
    """Write a spec that names every file as it lies in the current folder."""
    own = {
        "distribution": "in", "source": {"path": "forget.jsonl"}, "population_source": {"path": "./others.csv"},
    }  # fmt: skip
    data = {
        "corpus": {"source": {"path": "retain.parquet"}},
        "retain_source": {"path": "retain.parquet"}, "retain": None,
        "heldout_source": {"path": "heldout.jsonl"}, "heldout": None,
        "forget_sets": {"own": own},
    }  # fmt: skip
    model = {"architecture": tiny_architecture()}
    Path("spec.yaml").write_text(yaml.safe_dump(spec_data(**{"data": data, "model": model, **sections})))
    return "spec.yaml"


def paths_of(spec):
    def inside(value):
        if isinstance(value, dict):
            yield from (inner for name, v in value.items() for inner in ([v] if name == "path" and v else inside(v)))

    return set(inside(spec.model_dump()))


def identities(spec):
    datasets = datasets_of(spec)
    tasks = model_tasks(spec, datasets)
    return [task.key for task in tasks], workload_hash(spec, datasets, tasks)


def test_every_path_is_absolute_and_stays_so_in_the_stored_spec(here):
    spec = load_spec(written())
    assert paths_of(spec) == {str(here / name) for name in FILES}
    assert parse_yaml(dump_spec(spec), "stored") == spec.model_dump(mode="json")


def test_an_override_names_a_path_of_the_current_folder_too(here, monkeypatch):
    spec = load_spec(written(), overrides=("data.heldout_source.path=others.csv",))
    assert spec.data.heldout_source.path == str(here / "others.csv")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    amended = amend_spec(spec, ["data.heldout_source.path=../heldout.jsonl"])
    assert amended.data.heldout_source.path == str(here / "heldout.jsonl")
    assert amended.data.retain_source == spec.data.retain_source


def test_another_spelling_is_the_same_sweep(here, monkeypatch):
    spec = load_spec(written())
    keys = identities(spec)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    spelled = {"forget.jsonl": "../elsewhere/../forget.jsonl", "retain.parquet": (here / "retain.parquet").as_uri()}
    other = load_spec(
        here / "spec.yaml",
        overrides=(
            f"data.forget_sets.own.source.path={spelled['forget.jsonl']}",
            "data.forget_sets.own.population_source.path=../others.csv",
            f"data.retain_source.path={spelled['retain.parquet']}",
            "data.corpus.source.path=../retain.parquet",
            f"data.heldout_source.path={here}/./heldout.jsonl",
        ),
    )
    assert other == spec
    assert identities(other) == keys


@pytest.mark.parametrize("pretrained", ["gpt2", "owner/name", "owner/name/file.gguf", "package:a/b.gguf", "s3://b/m"])
def test_ids_and_uris_stay_as_they_are(here, pretrained):
    spec = load_spec(written(model={"architecture": None, "vocab_size": 1024, "pretrained": pretrained}))
    assert spec.model.pretrained == pretrained


def test_a_model_folder_is_one_model_however_it_is_spelled(here):
    save_model(tiny_model(), tiny_tokenizer(), here / "my-model")
    (here / "linked").symlink_to(here / "my-model")

    def spelled(pretrained):
        return load_spec(written(model={"architecture": None, "vocab_size": 1024, "pretrained": pretrained}))

    first = spelled("my-model")
    assert first.model.pretrained == str(here / "my-model")
    assert spelled("./my-model/") == first
    linked = spelled("linked")
    assert identities(linked) == identities(first)
    keys, _ = identities(first)
    recorded = {"models": {"base": {"key": keys[0], "seed": 0}}}
    found = compare(first, linked, recorded, recorded)
    assert (len(found.free), found.breaking) == (1, ())
    assert compare(first, linked, recorded, {"models": {"base": {"key": "other", "seed": 0}}}).breaking
