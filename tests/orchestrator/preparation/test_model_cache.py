"""What is kept of a trained model, and which of two stays."""

from pathlib import Path

import pytest

from orchestrator.errors import StorageError
from orchestrator.preparation import ModelCache, model_cache
from orchestrator.storage import LocalStorage
from trainables.preparation import TrainingState


@pytest.fixture
def cache(tmp_path, monkeypatch):
    def save(model, tokenizer, folder, *, generation_file=None):
        for name in ("model.safetensors", "chat/templates/short.jinja"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{model} {tokenizer} {name}")

    monkeypatch.setattr(model_cache, "_save_model", save)
    return ModelCache(LocalStorage(tmp_path / "sweeps"))


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_folders_inside_a_model_are_kept(cache, tmp_path):
    cache.store("key", "model", "tokenizer")
    assert contents(cache.fetch("key", tmp_path / "here")) == {
        "model.safetensors": "model tokenizer model.safetensors",
        "chat/templates/short.jinja": "model tokenizer chat/templates/short.jinja",
    }


def test_the_first_of_two_that_train_a_model_stays_and_the_second_tidies_up(cache, tmp_path):
    cache.store("key", "first", "tokenizer")
    cache.save_checkpoint("key", b"of the second")
    cache.store("key", "second", "tokenizer")
    assert {text.split()[0] for text in contents(cache.fetch("key", tmp_path / "here")).values()} == {"first"}
    assert cache.load_checkpoint("key") is None


def test_how_far_a_training_is_can_be_read_until_the_model_is_there(cache, tmp_path, monkeypatch):
    state = TrainingState(step=3, steps=8, epochs=2, loss=2.5, left_s=None)
    assert cache.training_state("key") is None
    cache.record_training_state("key", state)
    assert cache.training_state("key") == state
    cache.store("key", "model", "tokenizer")
    assert cache.training_state("key") is None

    def full(*_):
        raise StorageError("no room")

    monkeypatch.setattr(LocalStorage, "publish", full)
    monkeypatch.setattr(LocalStorage, "read", full)
    cache.record_training_state("key", state)
    assert cache.training_state("key") is None, "it is not worth a run"
