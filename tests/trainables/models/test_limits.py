"""The limits that are found, against what models can actually read."""

import pytest
import torch
from transformers import AutoConfig

from tests.support import tiny_architecture
from trainables.config import ModelConfig
from trainables.models import limits_of, structure_of
from trainables.models.files.pretrained import auto_class

SCRATCH = ModelConfig(architecture={"model_type": "gpt2"})
POSITIONS = 12
CAUSAL = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "max_position_embeddings": POSITIONS, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "is_decoder": True,
}  # fmt: skip
GPT = {
    "vocab_size": 50, "n_positions": POSITIONS, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0,
    "eos_token_id": 2, "rotary_dim": 4, "dff": 32,
}  # fmt: skip
PAIR = {
    "vocab_size": 50, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": POSITIONS,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": None,
}  # fmt: skip
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
FAMILIES = {
    "gpt2": (GPT, POSITIONS),
    "gptj": (GPT, POSITIONS),
    "ctrl": (GPT, POSITIONS),
    "opt": ({**CAUSAL, "ffn_dim": 32}, POSITIONS),
    "gpt_neo": ({**CAUSAL, "num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]]}, POSITIONS),
    "biogpt": (CAUSAL, POSITIONS),
    "bert": (CAUSAL, POSITIONS),
    "roberta": (CAUSAL, POSITIONS - 2),
    "mpt": ({"vocab_size": 50, "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": POSITIONS}, POSITIONS),
    "llama": ({**tiny_architecture(), "vocab_size": 50, "max_position_embeddings": POSITIONS}, None),
    "gemma2": ({**CAUSAL, "head_dim": 8, "num_key_value_heads": 2}, None),
    "bloom": ({"vocab_size": 50, "hidden_size": 16, "n_layer": 1, "n_head": 2}, None),
    "xglm": ({**PAIR, "num_layers": 1, "attention_heads": 2, "ffn_dim": 32}, None),
    "bart": (PAIR, POSITIONS),
    "mbart": (PAIR, POSITIONS),
    "marian": (PAIR, POSITIONS),
    "pegasus": (PAIR, POSITIONS),
    "m2m_100": (PAIR, None),
    "t5": (T5, None),
}


def built(family):
    fields, expected = FAMILIES[family]
    return AutoConfig.for_model(**{**fields, "model_type": family}), expected


def reads(model, length, targets=4):
    read = torch.full((1, length), 3)
    written = {"decoder_input_ids": torch.full((1, targets), 3)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        model(input_ids=read, use_cache=False, **written)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_reads_as_much_as_its_limit_and_no_more(family):
    configuration, expected = built(family)
    limits = structure_of(configuration, SCRATCH).limits
    assert (limits.positions, limits.ids, limits.target_ids) == (expected, 50, 50)
    model = auto_class(configuration.is_encoder_decoder).from_config(configuration).eval()
    assert limits_of(model) == limits, "found without weights, and with them"
    reads(model, limits.positions or 3 * POSITIONS)
    if limits.positions is not None:
        with pytest.raises((IndexError, RuntimeError)):
            reads(model, limits.positions + 1)
    if configuration.is_encoder_decoder:
        assert limits.target_positions == expected
        reads(model, 4, limits.target_positions or 3 * POSITIONS)
        if limits.target_positions is not None:
            with pytest.raises((IndexError, RuntimeError)):
                reads(model, 4, limits.target_positions + 1)


def test_two_vocabularies_are_told_apart():
    encoder = AutoConfig.for_model(**{**CAUSAL, "model_type": "bert", "is_decoder": False, "vocab_size": 60})
    decoder = AutoConfig.for_model(**{**CAUSAL, "model_type": "bert", "add_cross_attention": True, "vocab_size": 40})
    both = AutoConfig.for_model("encoder-decoder", encoder=encoder.to_dict(), decoder=decoder.to_dict())
    limits = structure_of(both, SCRATCH).limits
    assert (limits.positions, limits.target_positions) == (POSITIONS, POSITIONS)
    assert (limits.ids, limits.target_ids) == (60, 40)


def test_positions_of_images_bound_no_text():
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"image_size": 4, "patch_size": 2}
    configuration = AutoConfig.for_model("git", **CAUSAL, vision_config={**vision, **sizes})
    assert structure_of(configuration, SCRATCH).limits.positions == POSITIONS


def test_what_cannot_be_built_without_weights_has_its_vocabulary_as_limit(monkeypatch):
    monkeypatch.setattr("trainables.models.limits.auto_class", lambda _: None)
    limits = structure_of(built("gpt2")[0], SCRATCH).limits
    assert (limits.positions, limits.ids) == (None, 50)
