"""Logits in chunks against the model's own: families, tied and untied heads, adapters on it, and what is unknown."""

from functools import cache

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from tests.support import PROPERTY, tiny_encoded
from trainables.encoding import collate
from trainables.metrics import kl_divergence, likelihood, predict, soft_nll, token_scores
from trainables.metrics.likelihood import target_moments
from trainables.models import split_output

SMALL = {
    "vocab_size": 300, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "initializer_range": 0.4,
}  # fmt: skip
PAIR = {"vocab_size": 300, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
PAIR |= {"decoder_start_token_id": 0, "pad_token_id": 0}
FAMILIES = {
    "llama": SMALL,
    "llama, tied": {**SMALL, "tie_word_embeddings": True},
    "gpt2": {"vocab_size": 300, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64},
    "gemma2, with a soft cap": {**SMALL, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 8},
    "cohere, scaled": {**SMALL, "logit_scale": 0.25, "use_qk_norm": False},
    "granite, scaled": {**SMALL, "logits_scaling": 4.0},
    "phi, with a bias": SMALL,
    "opt": {
        "vocab_size": 300, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "word_embed_proj_dim": 8, "max_position_embeddings": 64,
    },
    "bloom": {"vocab_size": 300, "hidden_size": 16, "n_layer": 1, "n_head": 2},
    "t5, tied": {**PAIR, "tie_word_embeddings": True},
    "t5, untied": {**PAIR, "tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"},
    "bart": {
        "vocab_size": 300, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64,
        "decoder_start_token_id": 2,
    },
}  # fmt: skip
OTHERWISE = {"bart"}
"""Families that make their logits in a way that is not known, so that their own are taken."""


@cache
def model_of(family, *, adapters=False, seed=1, dropout=0.0):
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(family.partition(",")[0], **FAMILIES[family])
    kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = kind.from_config(config).eval()
    if family == "bart":
        model.final_logits_bias += torch.arange(300) / 100
    if adapters:
        model = get_peft_model(
            model, LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False, lora_dropout=dropout)
        )
    return model


def batch_of(model, count=5, seed=0):
    return collate(tiny_encoded(count, seed=seed, encoder_decoder=model.config.is_encoder_decoder), range(count))


def plainly(model, batch):
    """What the model says itself: every logit, by its own forward pass."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(likelihood, "split_output", lambda *_: None)
        return predict(model, batch)


def losses(current, base):
    """One number for each way of looking at logits, those of objectives and of evaluations."""
    at_BT = current.is_target_BT
    scores = token_scores(current)
    return {
        "nll": -scores.logp_B.sum(),
        "kl": kl_divergence(base, current, at_BT).sum(),
        "kl of every token": kl_divergence(base, current, current.is_token_BT).sum(),
        "distilled": soft_nll(current, base, -3.0, at_BT).sum(),
        "distilled from itself": soft_nll(current, current, -float("inf"), at_BT).sum(),
    }


def slopes(losses, parameters):
    """The gradient of each loss for each parameter."""
    return {
        name: torch.autograd.grad(own, parameters, allow_unused=True, retain_graph=True, materialize_grads=True)
        for name, own in losses.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
@PROPERTY
@given(chunk=st.integers(1, 6000), seed=st.integers(0, 5))
def test_chunks_have_the_losses_and_gradients_of_all_logits_at_once(family, chunk, seed):
    model, batch = model_of(family), batch_of(model_of(family), seed=seed)
    other, parameters = model_of(family, seed=2), list(model.parameters())
    with torch.no_grad():
        base, moments = plainly(other, batch), target_moments(plainly(model, batch), moments=True)
    expected = losses(plainly(model, batch), base)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(likelihood, "CHUNK", chunk)
        with torch.no_grad():
            split_base, found_moments = predict(other, batch), target_moments(predict(model, batch), moments=True)
        found = losses(predict(model, batch), split_base)
        found_slopes = slopes(found, parameters)
    torch.testing.assert_close(found_moments, moments, rtol=1e-6, atol=1e-5)
    for name, own in slopes(expected, parameters).items():
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-5)
        for left, right in zip(found_slopes[name], own, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_divided_where_its_head_is_known(family):
    model = model_of(family)
    predictions = predict(model, batch_of(model))
    assert (predictions.hidden_BTD.shape[-1] == 300) == (family in OTHERWISE)
    with torch.no_grad():
        expected = plainly(model, batch_of(model)).logits_BTV
        torch.testing.assert_close(predictions.logits_BTV, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("chunk", [1, 10**9])
def test_adapters_on_the_head_are_trained_as_without_chunks(monkeypatch, chunk):
    model, batch = model_of("llama", adapters=True), batch_of(model_of("llama"))
    trained = [own for own in model.parameters() if own.requires_grad]
    assert trained
    expected = torch.autograd.grad(token_scores(plainly(model, batch)).logp_B.sum(), trained)
    monkeypatch.setattr(likelihood, "CHUNK", chunk)
    predictions = predict(model, batch)
    assert predictions.hidden_BTD.shape[-1] == 16
    torch.testing.assert_close(torch.autograd.grad(token_scores(predictions).logp_B.sum(), trained), expected)


def test_dropout_in_adapters_of_the_head_is_the_same_when_a_chunk_is_made_again(monkeypatch):
    model = model_of("llama", adapters=True, dropout=0.5).train()
    trained = [own for own in model.parameters() if own.requires_grad]
    monkeypatch.setattr(likelihood, "CHUNK", 300 * 4)

    def gradients():
        torch.manual_seed(3)
        return torch.autograd.grad(token_scores(predict(model, batch_of(model))).logp_B.sum(), trained)

    assert predict(model, batch_of(model)).hidden_BTD.shape[-1] == 16, "dropout is no reason not to divide it"
    found = gradients()
    monkeypatch.setattr(likelihood, "checkpoint", lambda function, *parts, **_: function(*parts))
    torch.testing.assert_close(found, gradients())


def test_no_more_logits_are_made_than_a_chunk_holds(monkeypatch):
    model, made = model_of("llama"), []
    batch = batch_of(model)
    predict(model, batch)  # now it is known that it can be divided
    monkeypatch.setattr(likelihood, "CHUNK", 300 * 4)
    hook = model.lm_head.register_forward_hook(lambda _, __, logits: made.append(logits.shape[:-1].numel()))
    try:
        token_scores(predict(model, batch)).logp_B.sum().backward()
    finally:
        hook.remove()
        model.zero_grad()
    targets = int((batch["labels"] != -100).sum())
    skipped = [count for count in made if count == batch["labels"].numel()]
    assert len(skipped) == 1, "the model's own call of its head, which makes one number a position"
    chunks = [count for count in made if count <= 4]
    assert len(made) == len(chunks) + 1
    assert sum(chunks) == 2 * targets, "once forward, once again for the gradient"


def test_a_model_is_compared_with_its_head_once(monkeypatch):
    model, runs = model_of("llama, tied", seed=9), []
    monkeypatch.setattr(model.model, "forward", lambda *a, run=model.model.forward, **k: runs.append(1) or run(*a, **k))
    for _ in range(3):
        predict(model, batch_of(model))
    assert len(runs) == 1 + 3


def test_what_has_no_output_embeddings_is_not_divided():
    class Own(torch.nn.Module):
        def get_output_embeddings(self):
            return None

    assert split_output(Own(), {}) is None
