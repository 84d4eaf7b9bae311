"""Every objective through whole trials: what the loop feeds it, what is evaluated, and what is kept."""

from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from tests.support import (
    MemorySink,
    deterministic,
    run_to_end,
    same_state,
    state_of,
    tiny_encoded,
    tiny_model,
    tiny_trial,
    tiny_workload,
)
from trainables.config import LoraConfig
from trainables.encoding import collate
from trainables.errors import UnlearningError
from trainables.metrics import score_set
from trainables.models import snapshot
from trainables.models.weights import named_tensors
from trainables.objectives import OBJECTIVES
from trainables.records import Status
from trainables.trial import Engine
from trainables.trial import ascent as ascent_module

KINDS = [False, True]
RETAIN_KL = {"retain_loss": "kl"}
UNTRAINED = {"wga": {"beta": 0.1}, "satimp": {"beta1": 0.1}, "simnpo": {"beta": 0.2}}
"""Settings under which an objective pushes tokens that an untrained model finds unlikely already."""


@cache
def workload_of(encoder_decoder):
    return tiny_workload(encoder_decoder=encoder_decoder, every_s=1e9)


@cache
def engine_of(encoder_decoder):
    """One engine for many objectives, as in a worker that is used again."""
    return Engine(workload_of(encoder_decoder))


def trial_of(name, weights=None, **settings):
    chosen = {"optimizer": "adamw", "learning_rate": 3e-3, "clip_norm": None, "batch_size": 5, **settings}
    return tiny_trial(objective=name, objective_settings=weights or {}, **chosen)


@pytest.mark.parametrize("encoder_decoder", KINDS, ids=["causal", "encoder-decoder"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_unlearns_both_kinds_of_models(name, encoder_decoder):
    weights = UNTRAINED.get(name)
    run = run_to_end(engine_of(encoder_decoder), trial_of(name, weights), MemorySink())
    assert run.outcome.status is Status.COMPLETED
    start, *_, end = (evaluation.forget_nll for evaluation in run.evaluations)
    assert end > start + 0.01
    micro = run_to_end(engine_of(encoder_decoder), trial_of(name, weights, micro_batch_size=2), MemorySink())
    for found, expected in zip(deterministic(micro.evaluations), deterministic(run.evaluations), strict=True):
        assert found["forget_nll"] == pytest.approx(expected["forget_nll"], rel=1e-3)
    assert len({row.tokens_seen for row in run.evaluations}) == 3


def noting(monkeypatch):
    """What the objectives are given, pass by pass."""
    calls, compute = [], ascent_module.objectives.compute

    def noted(name, model, batch, **given):
        calls.append({"forget_batch": batch, **given})
        return compute(name, model, batch, **given)

    monkeypatch.setattr(ascent_module.objectives, "compute", noted)
    return calls


@pytest.mark.parametrize(
    ("name", "weights", "given"),
    [
        ("gradient_ascent", {}, set()),
        ("gradient_difference", {}, {"retain_batch"}),
        ("gradient_difference", {"retain_weight": 0.0}, set()),
        ("npo", {"retain_weight": 0.0}, {"reference_model"}),
        ("simnpo", RETAIN_KL, {"retain_batch", "reference_model"}),
        ("dpo", {}, {"retain_batch", "reference_model", "alternate_batch"}),
        ("undial", {}, {"reference_model"}),
    ],
)
def test_an_objective_is_given_what_its_settings_need_and_no_more(monkeypatch, name, weights, given):
    calls = noting(monkeypatch)
    Engine(workload_of(False)).start(trial_of(name, weights)).advance(1)
    (call,) = calls
    optional = ("retain_batch", "reference_model", "alternate_batch")
    assert {argument for argument in optional if call[argument] is not None} == given


def test_alternates_are_those_of_the_same_examples(monkeypatch):
    """Where the alternates are the forget set itself, nothing is preferred: the loss is -(2 / beta) log sigmoid(0)."""
    workload, calls = workload_of(False), noting(monkeypatch)
    own = replace(workload, alternates={"forget": workload.evaluation_sets["forget"].forget})
    Engine(own).start(trial_of("dpo", micro_batch_size=2)).advance(2)
    assert len(calls) == 6
    for call in calls:
        assert all(torch.equal(call["forget_batch"][key], call["alternate_batch"][key]) for key in call["forget_batch"])


def test_a_set_without_alternates_is_refused():
    engine = Engine(replace(workload_of(False), alternates={}))
    with pytest.raises(UnlearningError, match="'dpo' needs the forget examples with alternate answers"):
        engine.start(trial_of("dpo")).advance(1)


def test_the_reference_is_the_frozen_base_made_once_and_only_when_asked(monkeypatch):
    workload = tiny_workload(dropout=0.3)
    built, build = [], type(workload.base)._build_base
    engine = Engine(workload)
    monkeypatch.setattr(type(workload.base), "_build_base", lambda self: (built.append(1), build(self))[1])
    engine.start(trial_of("gradient_difference")).advance(1)
    assert built == []
    for name in ("npo", "dpo"):
        engine.start(trial_of(name)).advance(3)
    assert built == [1]
    batch = collate(workload.retain, range(3))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = workload.base.build().eval()(**inputs).logits
    assert torch.equal(engine.frozen_base(**inputs).logits, expected), (
        "the base, without dropout, whatever was ascended"
    )
    assert not engine.frozen_base(**inputs).logits.requires_grad


def test_at_the_start_nothing_has_diverged_from_the_reference(monkeypatch):
    calls = noting(monkeypatch)
    engine = engine_of(False)
    engine.start(trial_of("kl_ascent")).advance(1)
    call = calls[0]
    kl_alone = {"retain_weight": 1.0, "forget_weight": 0.0}
    engine.workload.base.restore(engine.model)
    assert abs(ascent_module.objectives.compute(
        "kl_ascent", engine.model, call["forget_batch"], reference_model=call["reference_model"],
        retain_batch=call["retain_batch"], **kl_alone,
    ).item()) < 1e-6  # fmt: skip


class Lazy:
    """A retain set that says how large it is and gives a selection, and nothing else."""

    def __init__(self, encoded):
        self._encoded = encoded

    def __len__(self):
        return len(self._encoded)

    def select(self, indices):
        assert len(indices) <= 5
        return self._encoded.select(indices)


def test_a_retain_set_that_is_read_as_needed_gives_the_same_trajectory():
    workload, trial = workload_of(False), trial_of("gradient_difference", micro_batch_size=2)
    states = []
    for retain in (workload.retain, Lazy(workload.retain)):
        engine = Engine(replace(workload, retain=retain))
        engine.start(trial).advance(4)
        states.append(state_of(engine.model))
    assert same_state(*states)


@contextmanager
def unchanged(engine):
    before = state_of(engine.model)
    yield before
    assert same_state(state_of(engine.model), before)


@pytest.mark.parametrize("name", ["gradient_ascent", "npo"])
def test_the_model_that_is_evaluated_is_the_one_that_is_ascended(name):
    engine = engine_of(False)
    ascent = engine.start(trial_of(name))
    ascent.advance(2)
    with unchanged(engine) as before, ascent.evaluated_model() as model:
        assert model is engine.model
        assert same_state(state_of(model), before)


@pytest.mark.parametrize("encoder_decoder", KINDS)
def test_a_task_vector_is_subtracted_where_it_is_evaluated_and_nowhere_else(encoder_decoder):
    engine, base = engine_of(encoder_decoder), workload_of(encoder_decoder).base.arrays
    ascent = engine.start(trial_of("task_vector", {"scale": 0.5}))
    with unchanged(engine), ascent.evaluated_model() as model:
        assert same_state(state_of(model), base), "at step 0 it is the base model, bit for bit"
    ascent.advance(3)
    with unchanged(engine) as trained:
        with ascent.evaluated_model() as model:
            negated = state_of(model)
        with pytest.raises(KeyError), ascent.evaluated_model():  # put back, whatever happens
            raise KeyError
    for name, array in base.items():
        np.testing.assert_allclose(negated[name], array - 0.5 * (trained[name] - array), rtol=1e-5, atol=1e-7)
    forget = workload_of(encoder_decoder).evaluation_sets["forget"]
    assert score_set(engine.model, forget.forget, batch_size=6).logp_N.sum() > forget.base_logp_N.sum(), "it descends"


def test_the_checkpoint_of_a_task_vector_is_what_was_trained():
    trial, results = trial_of("task_vector", {"scale": 2.0}), MemorySink()
    uninterrupted = run_to_end(Engine(workload_of(False)), replace(trial, steps=(0, 2, 4)), results)
    first, second = Engine(workload_of(False)), Engine(workload_of(False))
    begun = first.start(trial)
    begun.advance(2)
    with begun.evaluated_model():
        pass
    resumed = second.start(trial)
    resumed.unpack(begun.pack(elapsed_s=0.0))
    resumed.advance(4)
    again = run_to_end(first, replace(trial, steps=(4,)), MemorySink())
    with resumed.evaluated_model() as model:
        logp_N = score_set(model.eval(), workload_of(False).evaluation_sets["forget"].forget, batch_size=16).logp_N
    assert deterministic(again.evaluations) == deterministic(
        [uninterrupted.evaluations[0], uninterrupted.evaluations[-1]]
    )
    _, examples = results.published("trial")
    np.testing.assert_array_equal(-logp_N, [row.nll * row.num_tokens for row in examples if row.step == 4])


def test_a_task_vector_of_adapters_is_negated_in_their_product():
    base = snapshot(tiny_model(), lora=LoraConfig(rank=2, alpha=4))
    engine = Engine(replace(workload_of(False), base=base))
    ascent = engine.start(trial_of("task_vector", {"scale": 0.5}, learning_rate=0.03))
    ascent.advance(3)

    def products():
        tensors = {name: tensor.detach().clone() for name, tensor in named_tensors(engine.model).items()}
        downs = [name for name in tensors if "lora_A" in name]
        return [tensors[name.replace("lora_A", "lora_B")] @ tensors[name] for name in downs]

    learned = products()
    assert max(float(product.abs().max()) for product in learned) > 1e-3
    with unchanged(engine), ascent.evaluated_model():
        for found, product in zip(products(), learned, strict=True):
            torch.testing.assert_close(found, -0.5 * product)


def test_objectives_with_a_reference_ascend_adapters():
    engine = Engine(replace(workload_of(False), base=snapshot(tiny_model(), lora=LoraConfig(rank=2, alpha=4))))
    run = run_to_end(engine, trial_of("npo", RETAIN_KL, learning_rate=0.03), MemorySink())
    assert run.evaluations[-1].forget_nll > run.evaluations[0].forget_nll + 0.01


def test_examples_of_other_lengths_are_no_trouble_for_alternates():
    workload = workload_of(False)
    long = tiny_encoded(6, seed=8, shortest=20, longest=30)
    engine = Engine(replace(workload, alternates={"forget": long}))
    engine.start(trial_of("dpo", micro_batch_size=2)).advance(2)
