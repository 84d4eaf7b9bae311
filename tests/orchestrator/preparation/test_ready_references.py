"""Reference models that are trained already: what they are, what is checked, and what of a sweep they change."""

import pytest
import torch

from orchestrator.ledger import Ledger
from orchestrator.plan import plan_sweep
from orchestrator.preparation import ModelCache, SweepInputs, build_workload, check_inputs, train_model
from orchestrator.preparation.model_identity import model_of, model_tasks, workload_hash
from orchestrator.spec import compare
from orchestrator.spec.contradictions import require_no_contradiction
from orchestrator.spec.spec_paths import with_absolute_paths
from orchestrator.storage import LocalStorage
from search_spaces import Space
from tests.orchestrator.helpers import make_spec
from tests.support import tiny_model, tiny_seq2seq_model, tiny_texts, tiny_tokenizer
from trainables.config import ModelConfig
from trainables.data import build_datasets
from trainables.encoding import train_tokenizer
from trainables.errors import UserError
from trainables.metrics import score_set
from trainables.models import save_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders with the models ``base``, ``one`` and ``two``."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "one", "two")):
        save_model(tiny_model(seed=seed), tiny_tokenizer(), folder / name)
    return folder


def spec_of(models, *references, epochs=0, **model):
    named = [{"pretrained": str(models / name)} for name in references]
    return make_spec(
        model={"architecture": None, "pretrained": str(models / "base"), "references": named, **model},
        preparation={"epochs": epochs, "learning_rate": 1e-3},
        data={
            "retain": 20, "retain_evaluation": 4, "heldout": 8, "corpus": {"min_words": 6, "max_words": 6},
            "forget_sets": {"verses": {"distribution": "in", "size": 4, "population": 8}},
        },
    )  # fmt: skip


def tasks_of(spec):
    return model_tasks(spec, build_datasets(spec.data))


def test_each_is_a_model_of_the_sweep_with_its_own_files(models):
    spec = spec_of(models, "one", "two")
    tasks = tasks_of(spec)
    assert [task.role for task in tasks] == ["base", "reference-0", "reference-1"]
    assert spec.num_references == 2
    assert plan_sweep(spec, concurrent_trials=1).models_to_train == 3
    assert model_of(spec.model, "base") is spec.model
    assert model_of(spec.model, "reference-1").pretrained == str(models / "two")
    alone = tasks_of(spec_of(models))
    assert alone[0].key == tasks[0].key, "the base model is the same with and without references"
    swapped = tasks_of(spec_of(models, "two", "one"))
    assert {task.key for task in swapped[1:]}.isdisjoint(task.key for task in tasks[1:]), "seeds stay with the number"


def test_they_are_part_of_the_workload(models):
    hashes = set()
    for names in ((), ("one",), ("two",), ("one", "two")):
        spec = spec_of(models, *names)
        hashes.add(workload_hash(spec, build_datasets(spec.data), tasks_of(spec)))
    assert len(hashes) == 4


def test_a_model_without_them_has_the_identity_that_it_had():
    assert "references" not in ModelConfig(pretrained="gpt2").identity()


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["all weights", "adapters"])
def test_exposure_is_measured_against_them(models, tmp_path, lora):
    """With adapters, those of a model are kept in place of its weights, and belong to its own weights."""
    spec = spec_of(models, "one", "two", lora=lora)
    datasets, tasks = build_datasets(spec.data), tasks_of(spec)
    given = (ModelCache(LocalStorage(tmp_path)), Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny"))
    for task in tasks:
        assert train_model(spec, datasets, task, *given) is None
    workload, _ = build_workload(spec, datasets, tasks, *given)
    sets = workload.evaluation_sets["verses"]
    for seed, logp_N in enumerate((sets.base_logp_N, *sets.reference_logp_SN)):
        own = score_set(tiny_model(seed=seed).eval(), sets.forget, batch_size=spec.evaluation.batch_size)
        assert logp_N == pytest.approx(own.logp_N, rel=1e-6)


def test_nothing_is_wrong_with_models_that_fit(models):
    check_inputs(SweepInputs.of(spec_of(models, "one", "two")))


def other_vocabulary(folder):
    save_model(tiny_model(), train_tokenizer(tiny_texts(50, seed=9), 290), folder)


def other_kind(folder):
    save_model(tiny_seq2seq_model(), tiny_tokenizer(), folder)


def broken(folder):
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    save_model(model, tiny_tokenizer(), folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (other_vocabulary, "model.references.1: its tokenizer has another vocabulary; it is that of model.pretrained"),
        (
            other_kind,
            "model.references.1: this is an encoder-decoder; a reference is what model.pretrained is, a causal",
        ),
        (broken, "model.references.1 (model.safetensors): 1 of 16 weights of 'model.norm.weight' are NaN or infinite"),
        (lambda folder: folder.mkdir(), "cannot load"),
    ],
)
def test_a_model_that_does_not_fit_is_named(models, tmp_path, make, said):
    make(tmp_path / "bad")
    with pytest.raises(UserError) as error:
        check_inputs(SweepInputs.of(spec_of(models, "one", tmp_path / "bad")))
    assert said in " ".join(str(error.value).split())


def test_a_spec_that_trains_its_base_model_cannot_name_them(models):
    with pytest.raises(UserError, match=r"model\.references: models that are trained already go with .*epochs: 0"):
        spec_of(models, "one", epochs=2)
    with pytest.raises(UserError, match=r"no way to train .*\n?.*references that are trained already are named by"):
        make_spec(
            model={"architecture": None, "pretrained": "a"},
            preparation={"epochs": 0, "learning_rate": 1, "references": 2},
        )


def test_relative_folders_are_made_absolute_and_ids_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ModelConfig(pretrained="./base", references=[{"pretrained": "./one"}, {"pretrained": "owner/name"}])
    found = with_absolute_paths(model)
    assert [found.pretrained, *(one.pretrained for one in found.references)] == [
        str(tmp_path / "base"), str(tmp_path / "one"), "owner/name"
    ]  # fmt: skip


def test_a_revision_of_a_folder_is_a_contradiction(models):
    model = ModelConfig(pretrained="owner/name", references=[{"pretrained": str(models / "one"), "revision": "main"}])
    with pytest.raises(UserError, match=r"model\.references\.0\.revision: 'main' is of a hub id, and model\.ref"):
        require_no_contradiction(model, Space({}), "spec.yaml")


def test_models_that_moved_are_the_same_and_other_models_are_not(models):
    before, now = spec_of(models, "one"), spec_of(models, "two")
    recorded = {"models": {"base": {"key": "a"}}, "data_hash": "d"}
    moved = compare(before, now, recorded, recorded)
    assert moved.free
    assert not moved.breaking
    other = compare(before, now, recorded, {**recorded, "models": {"base": {"key": "b"}}})
    assert [line for line in other.breaking if line.startswith("model.references")]
