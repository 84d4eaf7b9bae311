"""Model families: the model that is ascended, saved and exported is the one that plain Transformers loads.

With and without tied weights, with and without adapters.
"""

import json
import shutil

import pytest
import safetensors.torch
import torch
from transformers import AutoConfig

from tests.support import tiny_tokenizer
from trainables.config import LoraConfig, ModelConfig
from trainables.errors import UnlearningError
from trainables.models import (
    add_adapters,
    has_adapters,
    load_model,
    merged,
    new_model,
    require_kept,
    save_model,
    snapshot,
)
from trainables.models.comparison import differences, equal, probe_logits
from trainables.models.files.pretrained import auto_class

COMMON = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT = {"vocab_size": 64, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
PAIR = {
    "vocab_size": 64, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
T5 = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
FAMILIES = {
    "gpt2": GPT,
    **dict.fromkeys(("llama", "mistral", "qwen2", "phi", "phi3", "gpt_neox", "falcon", "cohere"), COMMON),
    **{name: {**COMMON, "head_dim": 8} for name in ("gemma", "gemma2", "gemma3_text", "qwen3")},
    "opt": {**COMMON, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "bloom": {"vocab_size": 64, "hidden_size": 16, "n_layer": 1, "n_head": 2},
    "mpt": {"vocab_size": 64, "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 64},
    "mamba": {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4},
    "mixtral": {**COMMON, "num_local_experts": 2},
    **dict.fromkeys(("t5", "mt5", "umt5"), T5),
    **dict.fromkeys(("bart", "mbart", "pegasus", "m2m_100", "marian"), PAIR),
}
HEADS = {"tied": True, "untied": False, "says tied, is not": True}


def plain(folder):
    encoder_decoder = AutoConfig.from_pretrained(folder).is_encoder_decoder
    return auto_class(encoder_decoder).from_pretrained(folder, dtype=torch.float32).eval()


def output_matrix(model):
    return next(name for name, module in model.named_modules() if module is model.get_output_embeddings())


def write_checkpoint(folder, family, head):
    """Write a folder like save_pretrained; the third kind like other tools, which do not update the configuration."""
    config = AutoConfig.for_model(family, **FAMILIES[family], tie_word_embeddings=HEADS[head], initializer_range=0.2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = auto_class(config.is_encoder_decoder).from_config(config)
        model.save_pretrained(folder)
        if head == "says tied, is not":
            tensors = safetensors.torch.load_file(folder / "model.safetensors")
            tensors[f"{output_matrix(model)}.weight"] = torch.randn(model.get_output_embeddings().weight.shape)
            safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tiny_tokenizer().save_pretrained(folder)
    return ModelConfig(pretrained=str(folder))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_ascended_and_kept_is_what_transformers_loads(family, head, tmp_path):
    config = write_checkpoint(tmp_path / "given", family, head)
    expected = probe_logits(plain(tmp_path / "given"))
    loaded = new_model(config, tokenizer=None, seed=0)
    assert equal(probe_logits(loaded), expected)
    built = snapshot(loaded).build()
    built.tie_weights()  # as Accelerate does before it cuts a model into shards
    assert differences(loaded, built) == []
    assert equal(probe_logits(built), expected)
    save_model(loaded, tiny_tokenizer(), tmp_path / "kept")
    require_kept(loaded, tmp_path / "kept", config)
    kept, _ = load_model(tmp_path / "kept", config)
    assert equal(probe_logits(kept), expected)
    assert equal(probe_logits(plain(tmp_path / "kept")), expected)


@pytest.mark.parametrize(
    ("family", "target"),
    [
        *((family, target) for family in ("gpt2", "llama", "opt") for target in ("output", "input", "both")),
        *((family, target) for family in ("t5", "bart") for target in ("output", "encoder")),
    ],
)
def test_adapters_on_a_tied_matrix_give_the_same_model_merged_and_kept(family, target, tmp_path):
    config = write_checkpoint(tmp_path / "given", family, "tied")
    model = new_model(config, tokenizer=None, seed=0)
    embeddings = next(name for name, module in model.named_modules() if module is model.get_input_embeddings())
    names = {
        "output": (output_matrix(model),),
        "input": (embeddings,),
        "both": (output_matrix(model), embeddings),
        "encoder": ("encoder.embed_tokens",),
    }
    lora = LoraConfig(rank=2, alpha=4, target_modules=names[target])
    base = snapshot(model, lora=lora).build()
    assert equal(probe_logits(base), probe_logits(plain(tmp_path / "given")))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in base.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    assert has_adapters(base)
    trained = probe_logits(base)
    save_model(base, tiny_tokenizer(), tmp_path / "adapters")
    again, _ = load_model(tmp_path / "adapters", config.model_copy(update={"lora": lora}))
    torch.testing.assert_close(probe_logits(again), trained, rtol=1e-4, atol=1e-4)
    save_model(merged(base), tiny_tokenizer(), tmp_path / "exported")
    torch.testing.assert_close(probe_logits(plain(tmp_path / "exported")), trained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "named"), [("t5", "shared"), ("bart", "model.shared")])
def test_adapters_on_a_matrix_that_several_others_are_tied_to_are_refused(family, named, tmp_path):
    model = new_model(write_checkpoint(tmp_path, family, "tied"), tokenizer=None, seed=0)
    with pytest.raises(UnlearningError, match=rf"target_modules name '{named}'.*encoder\.embed_tokens.*instead"):
        add_adapters(model, LoraConfig(target_modules=("shared",)), seed=0)


def test_a_kept_configuration_says_whether_the_output_matrix_is_tied(tmp_path):
    """Older readers rely on the configuration, and would drop the matrix."""
    config = write_checkpoint(tmp_path / "given", "llama", "says tied, is not")
    assert json.loads((tmp_path / "given" / "config.json").read_text())["tie_word_embeddings"]
    save_model(new_model(config, tokenizer=None, seed=0), tiny_tokenizer(), tmp_path / "kept")
    assert not json.loads((tmp_path / "kept" / "config.json").read_text())["tie_word_embeddings"]


def test_weights_that_are_not_there_are_not_drawn_at_random(tmp_path):
    config = write_checkpoint(tmp_path, "llama", "untied")
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del tensors["lm_head.weight"]
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnlearningError, match=r"lack lm_head\.weight.*tie_word_embeddings: true in its config.json"):
        new_model(config, tokenizer=None, seed=0)


def test_single_precisions_and_constants_are_rebuilt_as_they_were(tmp_path):
    config = write_checkpoint(tmp_path, "llama", "tied")
    model = new_model(config, tokenizer=None, seed=0)
    model.model.rotary_emb.inv_freq.mul_(0.5)  # no configuration tells of it
    assert model.state_dict().keys().isdisjoint({"model.rotary_emb.inv_freq"})
    built = snapshot(model).build()
    assert torch.equal(built.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)
    config = write_checkpoint(tmp_path / "t5", "t5", "tied").model_copy(update={"dtype": "bf16"})
    model = new_model(config, tokenizer=None, seed=0)
    model.encoder.block[0].layer[1].DenseReluDense.wo.float()  # Transformers keeps such ones by a list of its own
    built = snapshot(model).build()
    assert built.encoder.block[0].layer[1].DenseReluDense.wo.weight.dtype is torch.float32
    assert built.shared.weight.dtype is torch.bfloat16
    assert differences(model, built) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model: model.register_parameter("extra", torch.nn.Parameter(torch.ones(1))), "extra.*it is not there"),
        (lambda model: setattr(model.model.layers[0].mlp, "act_fn", torch.nn.ReLU()), "other logits"),
        (lambda model: setattr(model.model, "norm", torch.nn.Identity()), r"model\.norm\.weight.*it was not there"),
        (
            lambda model: setattr(model.lm_head, "weight", torch.nn.Parameter(torch.ones(70, 16))),
            r"had the shape \(70, 16\)",
        ),
    ],
    ids=["a parameter more", "another function", "a parameter less", "another shape"],
)
def test_a_model_that_its_configuration_does_not_describe_is_refused_by_name(change, said, tmp_path):
    model = new_model(write_checkpoint(tmp_path, "llama", "untied"), tokenizer=None, seed=0)
    change(model)
    with pytest.raises(UnlearningError, match=rf"(?s)LlamaForCausalLM is not the same after rebuilding.*{said}"):
        snapshot(model)


def test_a_kept_model_that_lacks_something_is_refused(tmp_path):
    config = write_checkpoint(tmp_path, "llama", "says tied, is not")
    model = new_model(config, tokenizer=None, seed=0)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del tensors["lm_head.weight"]  # as if its configuration had been believed
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnlearningError, match=r"(?s)loading it again.*'lm_head.weight' has a tensor of its"):
        require_kept(model, tmp_path, config)


@pytest.mark.parametrize("beside", [True, False], ids=["beside a whole model", "alone"])
def test_adapters_in_a_pretrained_folder_are_refused_and_not_dropped(beside, tmp_path):
    config = write_checkpoint(tmp_path / "given", "llama", "tied")
    adapted = add_adapters(new_model(config, tokenizer=None, seed=0), LoraConfig(rank=2), seed=0)
    folder = tmp_path / "adapters"
    save_model(adapted, tiny_tokenizer(), folder)
    if beside:
        shutil.copytree(tmp_path / "given", folder, dirs_exist_ok=True)
    for lora in (None, LoraConfig(rank=2)):
        with pytest.raises(UnlearningError, match=r"contains adapters.*merge_and_unload"):
            new_model(ModelConfig(pretrained=str(folder), lora=lora), tokenizer=None, seed=0)
