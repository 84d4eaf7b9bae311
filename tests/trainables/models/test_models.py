"""Models: snapshot and restore, folders, tokenizers, and errors that a user can act on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import (
    PROPERTY,
    VOCAB_SIZE,
    same_state,
    state_of,
    tiny_architecture,
    tiny_model,
    tiny_texts,
    tiny_tokenizer,
)
from trainables.config import LoraConfig, ModelConfig
from trainables.encoding import load_tokenizer, train_tokenizer
from trainables.encoding.tokenization import BOS
from trainables.errors import UnlearningError
from trainables.models import load_model, new_model, save_model, snapshot, temporary_adapters
from trainables.models.weights import named_tensors


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(2, 12).unsqueeze(0)).logits.numpy()


@pytest.mark.parametrize("tied", [True, False])
def test_a_snapshot_restores_bit_for_bit(tied):
    model = tiny_model(tied=tied)
    before, taken, expected = state_of(model), snapshot(model), logits(model)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(3).add_(1)
    assert not np.array_equal(logits(model), expected)
    taken.restore(model)
    assert same_state(state_of(model), before)
    assert np.array_equal(logits(model), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_a_snapshot_builds_the_same_model_elsewhere(tied):
    model = tiny_model(tied=tied)
    built = snapshot(model).build()
    assert same_state(state_of(built), state_of(model))
    assert np.array_equal(logits(built), logits(model))


def test_a_snapshot_whose_arrays_lie_in_files_builds_the_same_model(tmp_path):
    model = tiny_model()
    taken = snapshot(model).mapped(tmp_path, at_least_bytes=1000)
    kept = sum(array.nbytes for array in taken.arrays.values() if array.nbytes >= 1000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == kept > 0
    assert same_state(state_of(taken.build()), state_of(model))


def test_restoring_keeps_the_parameters_that_an_optimizer_holds():
    model = tiny_model()
    taken, identities = snapshot(model), [id(p) for p in model.parameters()]
    taken.restore(model)
    assert [id(p) for p in model.parameters()] == identities


def test_a_snapshot_is_a_copy_and_is_only_read():
    model = tiny_model()
    taken = snapshot(model)
    before = {name: array.copy() for name, array in taken.arrays.items()}
    for array in taken.arrays.values():
        array.flags.writeable = False  # as Ray's object store gives them
    built = taken.build()
    with torch.no_grad():
        for tensor in [*model.parameters(), *built.parameters()]:
            tensor.zero_()
    assert same_state(taken.arrays, before)


def test_tied_weights_are_kept_once():
    tied, untied = named_tensors(tiny_model(tied=True)), named_tensors(tiny_model(tied=False))
    assert set(untied) - set(tied) == {"lm_head.weight"}


def test_a_saved_model_loads_the_same(tmp_path):
    model = tiny_model()
    save_model(model, tiny_tokenizer(), tmp_path)
    loaded, tokenizer = load_model(tmp_path, ModelConfig(architecture=tiny_architecture()))
    assert same_state(state_of(loaded), state_of(model))
    assert np.array_equal(logits(loaded), logits(model))
    assert list(tmp_path.glob("*.safetensors"))
    for text in tiny_texts(5, seed=9):
        assert tokenizer.encode(text) == tiny_tokenizer().encode(text)
    assert tokenizer.bos_token_id == tiny_tokenizer().bos_token_id is not None


def test_a_local_folder_is_a_pretrained_model(tmp_path):
    model = tiny_model(seed=5)
    save_model(model.half(), tiny_tokenizer(), tmp_path)
    config = ModelConfig(pretrained=str(tmp_path))
    tokenizer = load_tokenizer(config)
    loaded = new_model(config, tokenizer=tokenizer, seed=0)
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}
    assert same_state(state_of(loaded), state_of(model.float()))
    assert tokenizer.encode("and the lord") == tiny_tokenizer().encode("and the lord")


@pytest.mark.parametrize("load", [load_tokenizer, lambda config: new_model(config, tokenizer=None, seed=0)])
def test_a_folder_that_does_not_load_is_named(tmp_path, load):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(UnlearningError, match=rf"cannot load '{folder}'.*save_pretrained"):
            load(ModelConfig(pretrained=str(folder)))


@pytest.mark.parametrize(
    "architecture",
    [
        {"model_type": "llamma"},
        {"model_type": "vit"},
        {**tiny_architecture(), "hidden_act": "nope"},
        {**tiny_architecture(), "hidden_size": "wide"},
        {**tiny_architecture(), "hidden_size": 15},
        {**tiny_architecture(), "num_attention_heads": 0},
    ],
    ids=["unknown type", "no language model", "activation", "not a number", "indivisible", "no heads"],
)
def test_an_architecture_that_cannot_be_built_is_the_users_mistake(architecture):
    with pytest.raises(UnlearningError, match=r"model\.architecture: Transformers cannot build"):
        new_model(ModelConfig(architecture=architecture), tokenizer=tiny_tokenizer(), seed=0)


def test_initial_weights_are_those_of_the_seed_and_leave_the_ambient_state():
    before = torch.get_rng_state()
    first = state_of(tiny_model(seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert same_state(state_of(tiny_model(seed=1)), first)
    assert not same_state(state_of(tiny_model(seed=2)), first)


def test_the_vocabulary_is_the_tokenizers():
    assert len(tiny_tokenizer()) == VOCAB_SIZE == tiny_model().config.vocab_size


@PROPERTY
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_the_tokenizer_gives_any_text_back(text):
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert tokenizer.bos_token_id not in ids or BOS in text


def test_training_a_tokenizer_is_deterministic():
    texts = tiny_texts(30, seed=2)
    assert train_tokenizer(texts, 290).get_vocab() == train_tokenizer(texts, 290).get_vocab()


@pytest.mark.parametrize("modules", ["all-linear", ("q_proj", "lm_head")])
@pytest.mark.parametrize("tied", [True, False])
def test_temporary_adapters_leave_weights_ties_and_what_is_trained_as_they_were(modules, tied):
    model = tiny_model(tied=tied)
    model.model.norm.weight.requires_grad_(False)
    before, expected = state_of(model), logits(model)
    trained = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}
    for seed in (1, 1, 2):
        with temporary_adapters(model, LoraConfig(target_modules=modules), seed=seed) as adapted, torch.no_grad():
            for name, parameter in adapted.named_parameters():
                assert parameter.requires_grad == ("lora_" in name)
                if "lora_B" in name:
                    parameter.fill_(1.0)
            changed = logits(model)
        assert not np.array_equal(changed, expected)
        assert np.array_equal(logits(model), expected)
        assert same_state(state_of(model), before)
        assert {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)} == trained
        assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
        assert not hasattr(model, "peft_config"), "PEFT takes it for a model with adapters"
