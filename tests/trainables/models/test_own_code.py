"""Code that comes with a model or a package runs only if the command line allows it, without a prompt."""

import builtins
import json
import pickle
import sys

import pytest

from tests.support import tiny_tokenizer
from tests.trainables.models.test_families import write_checkpoint
from trainables.config import ModelConfig
from trainables.encoding import load_tokenizer
from trainables.errors import UnlearningError
from trainables.models import (
    configuration_of,
    is_encoder_decoder,
    load_model,
    new_model,
    save_model,
    snapshot,
    structure_of,
)
from trainables.models.comparison import equal, probe_logits
from trainables.models.files.package_files import package_file

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
Path({marker!r}).touch()
class OwnConfig(LlamaConfig):
    model_type = "a_kind_of_its_own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def nobody_answers(monkeypatch):
    def asked(*prompt):
        raise AssertionError(f"somebody was asked: {prompt}")

    monkeypatch.setattr(builtins, "input", asked)


def own_code(folder, name="own", **changes):
    """Write a folder with Python files that define its model and tokenizer."""
    folder.mkdir()
    write_checkpoint(folder, "llama", "untied")
    (folder / f"{name}.py").write_text(CODE.format(marker=str(folder.parent / "ran")))
    for file, given in (
        ("config.json", {"model_type": "a_kind_of_its_own", "auto_map": {
            "AutoConfig": f"{name}.OwnConfig", "AutoModelForCausalLM": f"{name}.OwnModel"}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, f"{name}.OwnTokenizer"]},
                                   "tokenizer_class": "OwnTokenizer"}),
    ):  # fmt: skip
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, **given, **changes}))
    return ModelConfig(pretrained=str(folder))


@pytest.mark.parametrize(
    "load", [is_encoder_decoder, load_tokenizer, lambda config: new_model(config, tokenizer=None, seed=0)]
)
def test_a_models_own_code_does_not_run_and_the_option_is_named(load, nobody_answers, tmp_path):
    config = own_code(tmp_path / "model")
    with pytest.raises(UnlearningError, match=r"Python code of its own.*--trust-remote-code"):
        load(config)
    assert not (tmp_path / "ran").exists()


def test_of_a_known_kind_transformers_own_code_is_taken(nobody_answers, tmp_path):
    config = own_code(tmp_path / "model", model_type="llama", tokenizer_class="PreTrainedTokenizerFast")
    load_tokenizer(config)
    assert type(new_model(config, tokenizer=None, seed=0)).__module__.startswith("transformers.models.llama")
    assert not (tmp_path / "ran").exists()


def test_not_even_to_find_out_how_long_a_text_may_be(nobody_answers, tmp_path):
    """Transformers knows the configuration, but no language model of this kind."""
    config = own_code(tmp_path / "model", model_type="clip_text_model", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(UnlearningError, match=r"Python code of its own.*--trust-remote-code"):
        structure_of(configuration_of(config, tokenizer=None), config)
    assert not (tmp_path / "ran").exists()


def test_with_leave_it_runs_and_is_rebuilt_and_kept(nobody_answers, monkeypatch, tmp_path):
    config = own_code(tmp_path / "model", name="trusted").trusting_remote_code(True)
    config = pickle.loads(pickle.dumps(config))  # as it goes to a worker
    model = new_model(config, tokenizer=load_tokenizer(config), seed=0)
    assert (tmp_path / "ran").exists() and type(model).__name__ == "OwnModel"
    built = snapshot(model, origin=config).build()
    assert type(built).__name__ == "OwnModel" and equal(probe_logits(built), probe_logits(model))
    save_model(model, tiny_tokenizer(), tmp_path / "kept")
    kept, _ = load_model(tmp_path / "kept", config)
    assert equal(probe_logits(kept), probe_logits(model))


def test_no_spec_can_give_leave_and_it_is_no_part_of_one():
    config = ModelConfig(pretrained="owner/name")
    for key in ("trust_remote_code", "_trust_remote_code"):
        with pytest.raises(ValueError, match="unknown key"):
            ModelConfig.model_validate({"pretrained": "owner/name", key: True})
    trusting = config.trusting_remote_code(True)
    assert trusting.trust_remote_code and not config.trust_remote_code
    assert trusting.identity() == config.identity() and trusting.model_dump() == config.model_dump()


def test_a_packages_file_is_found_without_importing_anything(monkeypatch, tmp_path):
    inner = tmp_path / "outer_pkg" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").write_text("raise SystemExit('it was imported')")
    (inner / "model.gguf").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package_file("package:outer_pkg.inner/model.gguf") == inner / "model.gguf"
    assert package_file("package:outer_pkg/inner/model.gguf") == inner / "model.gguf"
    assert package_file("owner/name") is None
    assert "outer_pkg" not in sys.modules


@pytest.mark.parametrize(
    "name", ["outer/../../x.gguf", "json//etc/passwd", "json", "json/", ".json/x", "a-b/x", "/x", "json../x"]
)
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(UnlearningError, match=r"is not a file of a Python package"):
        package_file(f"package:{name}")


@pytest.mark.parametrize("name", ["not_there/x.gguf", "json.not_there/x.gguf", "math/x.gguf", "__main__/x.gguf"])
def test_a_package_that_is_not_installed_is_named(name):
    with pytest.raises(UnlearningError, match=r"is not installed"):
        package_file(f"package:{name}")
