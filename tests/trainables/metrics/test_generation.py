"""Texts are written greedily, whatever a model's own habits; who gets the model gets these as they were."""

import json

import pytest
import torch
from transformers import GenerationConfig

from tests.support import VOCAB_SIZE, tiny_encoded, tiny_seq2seq_model, tiny_tokenizer
from tests.trainables.models.test_families import plain, write_checkpoint
from trainables.config import LoraConfig, ModelConfig
from trainables.encoding import collate
from trainables.metrics import GenerationTask
from trainables.metrics.generation import write
from trainables.models import add_adapters, generation_file, load_model, new_model, save_model, snapshot

HABITS = {
    "beams": {"num_beams": 3, "length_penalty": 3.0, "early_stopping": True},
    "sampling": {"do_sample": True, "temperature": 5.0, "top_k": 3, "top_p": 0.5},
    "penalties": {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "encoder_no_repeat_ngram_size": 1},
    "lengths": {"max_length": 3, "min_length": 9, "min_new_tokens": 9, "exponential_decay_length_penalty": (1, 9.0)},
    "forbidden": {"suppress_tokens": list(range(3, VOCAB_SIZE, 2)), "bad_words_ids": [[5], [6]]},
    "the end": {"forced_eos_token_id": 7, "begin_suppress_tokens": list(range(3, 200)), "stop_strings": ["e"]},
}
INVALID = b'{"temperature": 0.6,  "top_p": 0.9, "do_sample": false, "eos_token_id": [2, 7]}\n'
"""As a well-known chat model has it: valid when it was written, and refused by Transformers today where it is saved."""


def written(model, **habits):
    model = model.eval()
    torch.manual_seed(0)
    encoded = tiny_encoded(6, encoder_decoder=True)
    task = GenerationTask(encoded=encoded, references=("",) * 6, tokenizer=tiny_tokenizer())
    return write(model, task, batch_size=4)


def model_of(**habits):
    model = tiny_seq2seq_model()
    own = model.generation_config.to_dict()
    model.generation_config = GenerationConfig.from_dict({**own, **habits})
    return model


@pytest.mark.parametrize("habit", HABITS)
def test_a_models_habits_change_no_text(habit):
    expected = written(model_of())
    assert len(set(expected)) > 1
    model = model_of(**HABITS[habit])
    before = model.generation_config.to_dict()
    assert written(model) == expected
    assert model.generation_config.to_dict() == before, "they are its own again"
    assert written(snapshot(model).build()) == expected
    assert written(add_adapters(model, LoraConfig(rank=2), seed=0)) == expected


def test_the_texts_are_those_that_the_most_likely_tokens_spell():
    """Checked one token at a time, without any of Transformers' generation."""
    model, tokenizer = model_of(**HABITS["beams"], eos_token_id=None).eval(), tiny_tokenizer()
    encoded = tiny_encoded(6, encoder_decoder=True)
    for index, text in enumerate(written(model)):
        source = collate(encoded, [index])["input_ids"]
        ids = [model.generation_config.decoder_start_token_id]
        for _ in range(int(encoded.num_targets_N.max())):
            with torch.no_grad():
                ids.append(int(model(input_ids=source, decoder_input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert tokenizer.decode(ids[1:], skip_special_tokens=True) == text


def test_a_first_token_that_names_the_language_is_kept():
    (token,) = tiny_tokenizer().encode("e", add_special_tokens=False)
    texts = written(model_of(forced_bos_token_id=token))
    assert all(text.startswith("e") for text in texts)
    assert texts != written(model_of())


@pytest.mark.parametrize("content", [INVALID, b'{"num_beams": 4, "x": 1}'], ids=["invalid today", "beams"])
def test_a_models_own_file_is_carried_byte_for_byte(content, tmp_path):
    config = write_checkpoint(tmp_path / "given", "t5", "tied")
    (tmp_path / "given" / "generation_config.json").write_bytes(content)
    model = new_model(config, tokenizer=None, seed=0)
    save_model(model, tiny_tokenizer(), tmp_path / "kept", generation_file=generation_file(config))
    assert (tmp_path / "kept" / "generation_config.json").read_bytes() == content
    kept, tokenizer = load_model(tmp_path / "kept", config)
    taken = snapshot(kept, generation_file=generation_file(ModelConfig(pretrained="o/n"), tmp_path / "kept"))
    save_model(taken.build(), tokenizer, tmp_path / "exported", generation_file=taken.generation_file)
    assert (tmp_path / "exported" / "generation_config.json").read_bytes() == content
    plain(tmp_path / "exported")
    save_model(taken.build(), tokenizer, tmp_path / "without")  # nothing fails after the ascent
    own = json.loads(content)
    assert own.items() <= json.loads((tmp_path / "without" / "generation_config.json").read_text()).items()


def test_a_model_made_here_has_no_file_to_carry():
    assert generation_file(ModelConfig(architecture={"model_type": "llama"})) is None
