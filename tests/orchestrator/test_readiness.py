"""Data that a model cannot read: refused by ``plan``, ``doctor`` and ``run``, before anything is trained."""

import socket
import sys

import pytest
import torch
import yaml

from orchestrator.cli import main
from orchestrator.errors import SweepError
from orchestrator.readiness import look_at
from tests.orchestrator.helpers import make_spec, spec_data
from tests.support import tiny_model, tiny_tokenizer
from trainables.errors import UnlearningError
from trainables.models import save_model

GPT2 = {"model_type": "gpt2", "n_positions": 12, "n_embd": 16, "n_layer": 1, "n_head": 2}


def no_cluster(*_, **__):
    raise SweepError("no cluster in this test")


def out_of_reach(*_, **__):
    raise OSError("offline")


def small_vocabulary(folder):
    """A model of fewer embeddings than its tokenizer has tokens."""
    model = tiny_model()
    model.resize_token_embeddings(290)
    save_model(model, tiny_tokenizer(), folder)


def broken_weights(folder):
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    save_model(model, tiny_tokenizer(), folder)


def without_bos(folder):
    tokenizer = tiny_tokenizer().__class__.from_pretrained(saved(folder))
    tokenizer.bos_token = None
    save_model(tiny_model(), tokenizer, folder)


def saved(folder):
    tiny_tokenizer().save_pretrained(folder)
    return folder


MODELS = {
    "positions": (None, ("data.heldout: example '", "tokens, special tokens", "12 positions (model.architecture)")),
    "vocabulary": (small_vocabulary, ("data.heldout: example '", "token id 29", "ids 0 to 289 (model.pretrained)")),
    "weights": (broken_weights, ("1 of 16 weights of 'model.norm.weight' are NaN or infinite",)),
    "first token": (without_bos, ("data.heldout: example '", "there is nothing to score its first token by")),
}


def sections_of(case, folder):
    make, _ = MODELS[case]
    if make is None:
        return {"model": {"architecture": GPT2}}
    make(folder)
    return {
        "model": {"architecture": None, "vocab_size": 1024, "pretrained": str(folder)},
        "preparation": {"epochs": 0, "references": 0},
    }


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("command", [["plan"], ["doctor"], ["run"]])
def test_what_cannot_work_is_one_message_before_anything_starts(case, command, tmp_path, monkeypatch, capsys):
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(spec_data(**sections_of(case, tmp_path / "model"))))
    storage = [] if command[0] == "plan" else ["--storage", str(tmp_path / "sweeps")]
    monkeypatch.setattr("orchestrator.doctor.ray_session", no_cluster)
    monkeypatch.setattr("orchestrator.runner.ray_session", no_cluster)
    monkeypatch.setattr(
        "orchestrator.runner.starts_here", lambda: False
    )  # else a worker looks, as in tests/integration
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", command[0], str(spec), *command[1:], *storage])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    said = " ".join((out + err).split())
    assert ended.value.code == 2
    assert all(part in said for part in MODELS[case][1])
    assert "Traceback" not in said
    assert not (tmp_path / "sweeps" / "tiny" / "spec.yaml").exists()


def test_what_goes_together_is_not_refused():
    looked = look_at(make_spec())
    assert looked.unchecked is None
    assert looked.inputs is not None


def test_a_plan_without_the_hub_says_what_it_has_not_checked(monkeypatch):
    monkeypatch.setattr("trainables.hub_access.is_offline_mode", lambda: True)
    monkeypatch.setattr("trainables.models.AutoConfig.from_pretrained", out_of_reach)
    hub = {"architecture": None, "vocab_size": 1024, "pretrained": "nobody/nothing-here"}
    said = look_at(make_spec(model=hub)).unchecked
    assert said is not None
    assert said.startswith(
        "data, tokenizer and model were not checked against each other: model.pretrained: cannot load"
    )


def test_a_plan_does_not_wait_for_a_hub_that_does_not_answer(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr("trainables.hub_access.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("trainables.hub_access.is_offline_mode", lambda: False)
    monkeypatch.setattr("trainables.hub_access.getproxies", dict)
    hub = {"architecture": None, "vocab_size": 1024, "pretrained": "nobody/nothing-here"}
    said = look_at(make_spec(model=hub)).unchecked
    assert said is not None
    assert "the model 'nobody/nothing-here' is not on this machine, and the Hugging Face hub does not answer" in said


def test_a_plan_of_a_package_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setattr("trainables.hub_access.is_offline_mode", lambda: True)
    package = {"architecture": None, "vocab_size": 1024, "pretrained": "package:not_installed_here/model.gguf"}
    said = look_at(make_spec(model=package)).unchecked
    assert said is not None
    assert "needs the Python package 'not-installed-here'" in said


def test_a_folder_that_is_wrong_is_a_mistake(tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(UnlearningError, match=r"model\.pretrained: cannot load"):
        look_at(make_spec(model={"architecture": None, "vocab_size": 1024, "pretrained": str(tmp_path)}))
