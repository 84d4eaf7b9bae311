"""Quantization: rounding against plain loops and its bounds, which weights it takes, and that nothing of it stays."""

import copy
import importlib.util
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from transformers import GPT2Config, GPT2LMHeadModel

from tests.support import PROPERTY, deterministic, same_state, state_of, tiny_model
from tests.trainables.probes.probed import KINDS, probed_model
from trainables.config import LoraConfig
from trainables.errors import UnlearningError
from trainables.metrics import evaluate
from trainables.models import merged
from trainables.probes import check_probe, run_probe
from trainables.probes import quantization as quantization_module
from trainables.probes.quantization import layers_to_quantize, round_trip

PLAIN = {"backend": "round_trip", "group_size": 6}
LORA = LoraConfig(rank=2)
FLOATS = st.floats(-1e3, 1e3, width=32).filter(lambda value: value == 0 or abs(value) > 1e-3)
WEIGHTS = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FLOATS)


def run(probed, **given):
    return list(run_probe("quantization", check_probe("quantization", {**PLAIN, **given}), probed))


def by_hand(rows, bits, group_size):
    """Round every weight by itself, in Python's floats."""
    levels = 2 ** (bits - 1) - 1
    result = []
    for row in rows:
        rounded = []
        for start in range(0, len(row), group_size or len(row)):
            group = row[start : start + (group_size or len(row))]
            scale = max(map(abs, group)) / levels
            rounded += [scale * round(weight / scale) if scale else 0.0 for weight in group]
        result.append(rounded)
    return result


@pytest.mark.parametrize(("bits", "group_size"), [(8, None), (4, 3), (4, 4), (4, 100)])
def test_rounding_is_what_plain_loops_compute(bits, group_size):
    weight = torch.randn(5, 10, generator=torch.Generator().manual_seed(bits))
    weight[2] = 0
    expected = by_hand(weight.tolist(), bits, group_size)
    torch.testing.assert_close(round_trip(weight, bits=bits, group_size=group_size), torch.tensor(expected))


@given(WEIGHTS, st.sampled_from([8, 4]), st.sampled_from([None, 1, 2, 5]))
@PROPERTY
def test_no_weight_moves_by_more_than_half_a_step_and_few_values_are_left(weights, bits, group_size):
    weight_OI = torch.from_numpy(weights)
    rounded_OI = round_trip(weight_OI, bits=bits, group_size=group_size)
    assert rounded_OI.shape == weight_OI.shape
    groups = zip(*(w.split(group_size or w.shape[1], dim=1) for w in (weight_OI, rounded_OI)), strict=True)
    for group_OG, new_OG in groups:
        step_O1 = group_OG.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
        assert ((new_OG - group_OG).abs() <= step_O1 * 0.5001).all()
        assert (new_OG.abs().amax(dim=1) - group_OG.abs().amax(dim=1)).abs().max() <= 1e-6 * group_OG.abs().max()
        assert all(len(row.unique()) <= 2**bits - 1 for row in new_OG)
    again = round_trip(rounded_OI, bits=bits, group_size=group_size)
    torch.testing.assert_close(again, rounded_OI, rtol=1e-5, atol=0)


def test_weights_keep_their_dtype():
    weight = torch.randn(3, 8).to(torch.bfloat16)
    rounded = round_trip(weight, bits=4, group_size=4)
    assert rounded.dtype is torch.bfloat16
    expected = torch.tensor(by_hand(weight.tolist(), 4, 4)).to(torch.bfloat16)
    assert (rounded.float() - expected.float()).abs().max() <= expected.float().abs().max() / 128


def test_linear_layers_are_quantized_and_the_output_layer_and_embeddings_only_on_request():
    for tied in (True, False):
        model = tiny_model(tied=tied)
        inner = {name for name, _ in model.named_modules() if name.endswith("_proj")}
        assert len(inner) == 7
        assert layers_to_quantize(model, embeddings=False).keys() == inner
        assert layers_to_quantize(model, embeddings=True).keys() == inner | {"lm_head", "model.embed_tokens"}


def rounded_model(model, bits, group_size=6, embeddings=False):
    """Round the weights of a copy in place, by plain loops."""
    model = copy.deepcopy(model)
    names = {id(module.weight) for module in layers_to_quantize(model, embeddings=embeddings).values()}
    with torch.no_grad():
        for parameter in model.parameters():
            if id(parameter) in names:
                parameter.copy_(torch.tensor(by_hand(parameter.tolist(), bits, None if bits == 8 else group_size)))
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("embeddings", [False, True])
def test_what_is_measured_is_the_model_with_rounded_weights(kind, embeddings):
    probed = probed_model(kind)
    records = run(probed, embeddings=embeddings)
    assert [(r.variant, r.amount) for r in records] == [("int8", 8), ("int4", 4)]
    for record in records:
        model = rounded_model(probed.model, int(record.amount), embeddings=embeddings)
        for found, of in ((record.before, probed.model), (record.after, model)):
            expected, _ = evaluate(of, probed.sets, batch_size=16, step=0, tokens_seen=0, elapsed_s=0.0)
            for name in ("forget_nll", "gen_ex", "heldout_nll", "population_nll"):
                assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4)
        old, new = (dict(m.named_parameters()) for m in (probed.model, model))
        rounded = [n for n in old if not torch.equal(old[n], new[n])]
        changed = math.fsum(float((new[n] - old[n]).square().sum()) for n in rounded)
        size = math.fsum(float(old[n].square().sum()) for n in rounded)
        if not embeddings:  # tied weights count once a layer there
            assert record.scores["error"] == pytest.approx(math.sqrt(changed / size), rel=1e-4)
        share = sum(old[n].numel() for n in rounded) / sum(p.numel() for p in old.values())
        assert record.scores["quantized"] == pytest.approx(share)
        assert record.scores["torchao"] == 0
    assert records[0].scores["error"] < records[1].scores["error"] / 5


def test_fewer_bits_move_the_model_further():
    probed = probed_model()
    int8, int4 = run(probed)
    moved = [abs(r.after.heldout_nll - r.before.heldout_nll) for r in (int8, int4)]
    assert 0 < moved[0] < moved[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("embeddings", [False, True])
def test_the_model_is_left_as_it_was(kind, lora, embeddings):
    probed = probed_model(kind, lora=lora)
    everything = {name: p.detach().clone() for name, p in probed.model.named_parameters()}
    tensors = [id(p) for p in probed.model.parameters()]
    running = run_probe("quantization", check_probe("quantization", {**PLAIN, "embeddings": embeddings}), probed)
    next(running)
    running.close()
    run(probed, embeddings=embeddings)
    assert [id(p) for p in probed.model.parameters()] == tensors
    assert all(torch.equal(p, everything[name]) for name, p in probed.model.named_parameters())
    assert len(everything) == len(tensors)
    assert deterministic([run(probed)[1].after]) == deterministic([run(probed_model(kind, lora=lora))[1].after])


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_merged_before_rounding(kind):
    probed = probed_model(kind, lora=LORA)
    with torch.no_grad():
        for name, parameter in probed.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(3))
    records = run(probed)
    plain = merged(copy.deepcopy(probed.model))
    for record in records:
        expected, _ = evaluate(
            rounded_model(plain, int(record.amount)), probed.sets, batch_size=16, step=0, tokens_seen=0, elapsed_s=0.0
        )
        assert record.after.forget_nll == pytest.approx(expected.forget_nll, rel=1e-4)
        assert record.scores["quantized"] == pytest.approx(run(probed_model(kind))[0].scores["quantized"])
    assert abs(records[0].after.forget_nll - records[0].before.forget_nll) < 0.2


def test_layers_that_keep_their_weights_transposed_have_a_scale_for_each_output_channel():
    config = GPT2Config(vocab_size=300, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    torch.manual_seed(0)
    probed = probed_model(model=GPT2LMHeadModel(config).eval())
    assert len(layers_to_quantize(probed.model, embeddings=False)) == 4
    by_loops = copy.deepcopy(probed.model)
    with torch.no_grad():
        for module in layers_to_quantize(by_loops, embeddings=False).values():
            module.weight.copy_(torch.tensor(by_hand(module.weight.T.tolist(), 4, 6)).T)
    expected, _ = evaluate(by_loops, probed.sets, batch_size=16, step=0, tokens_seen=0, elapsed_s=0.0)
    (record,) = run(probed, bits=[4], backend="auto")
    assert record.after.forget_nll == pytest.approx(expected.forget_nll, rel=1e-5)
    assert record.scores["torchao"] == 0, "torchao has no such layers"


def test_a_model_that_is_not_finite_any_more_says_so(monkeypatch):
    monkeypatch.setattr(quantization_module, "_rounded", lambda layer, *_: torch.full_like(layer.weight, math.inf))
    probed = probed_model()
    before = state_of(probed.model)
    (record,) = run(probed, bits=[4])
    assert (record.after, record.scores["diverged"]) == (None, 1)
    assert same_state(state_of(probed.model), before)


def test_without_torchao_auto_makes_the_round_trip_and_asking_for_it_is_refused(monkeypatch):
    monkeypatch.setattr(quantization_module, "find_spec", lambda name: None)
    probed = probed_model()
    assert [r.after for r in run(probed, backend="auto")] == [r.after for r in run(probed)]
    with pytest.raises(
        UnlearningError, match=r"torchao cannot .* it is not installed \(pip install .*\[quantization\]"
    ):
        run(probed, backend="torchao")


def test_where_torchao_fails_half_way_the_round_trip_starts_from_the_weights_as_they_were(monkeypatch):
    class Failing:
        @staticmethod
        def quantize(layers, **_):
            next(iter(layers)).weight = torch.nn.Parameter(torch.zeros(1))
            raise RuntimeError("no kernel for this device")

    monkeypatch.setattr(quantization_module, "find_spec", lambda name: True)
    monkeypatch.setattr(quantization_module, "import_module", lambda name: Failing)
    probed = probed_model()
    before = state_of(probed.model)
    assert [r.after for r in run(probed, backend="auto")] == [r.after for r in run(probed)]
    with pytest.raises(UnlearningError, match="to 8 bits on this machine: no kernel for this device; give backend"):
        run(probed, backend="torchao")
    assert same_state(state_of(probed.model), before)


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao, an extra, is not installed")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [None, LORA])
def test_torchao_quantizes_to_nearly_the_same_weights(kind, lora):
    probed = probed_model(kind, lora=lora)
    before = state_of(probed.model)
    plain, by_torchao = (run(probed, backend=backend, group_size=8) for backend in ("round_trip", "torchao"))
    for one, other in zip(plain, by_torchao, strict=True):
        assert (one.scores["torchao"], other.scores["torchao"]) == (0, 1)
        assert other.scores["error"] == pytest.approx(one.scores["error"], rel=0.15)  # int4 has 16 levels there, not 15
        assert other.scores["quantized"] == one.scores["quantized"]
    assert by_torchao[0].after.forget_nll == pytest.approx(plain[0].after.forget_nll, abs=0.02)
    assert same_state(state_of(probed.model), before)
    assert [r.scores["torchao"] for r in run(probed, backend="auto", group_size=5)] == [1, 0], (
        "no channel is filled by 5"
    )


def test_references_are_quantized_alike():
    probed = probed_model(role="reference-0")
    assert [r.role for r in run(probed)] == ["reference-0"] * 2
    assert run(probed)[0].before.gen_ex is not None
