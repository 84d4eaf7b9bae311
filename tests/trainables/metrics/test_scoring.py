"""Scores of sets, against one example at a time and autograd by hand."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from tests.support import tiny_encoded, tiny_model, tiny_seq2seq_model, tiny_tokenizer, tiny_workload
from trainables.config import LoraConfig
from trainables.encoding import collate
from trainables.metrics import GenerationTask, ScoredOnce, SetScores, evaluate, score_batch, score_set, scoring
from trainables.metrics.generation import generate, sample, truths
from trainables.metrics.likelihood import predict
from trainables.metrics.scoring import MOMENTS, gradient_norms
from trainables.models import add_adapters


@pytest.fixture(params=[False, True], ids=["causal", "encoder-decoder"])
def model_and_set(request):
    make = tiny_seq2seq_model if request.param else tiny_model
    return make(seed=3).eval(), tiny_encoded(9, seed=1, longest=14, encoder_decoder=request.param)


def test_every_token_has_its_likelihood_choice_and_moments(model_and_set):
    model, encoded = model_and_set
    found = score_set(model, encoded, batch_size=4, reads=MOMENTS)
    values = {name: found.by_example(getattr(found, name)) for name in ("logp_M", "is_top_M", *MOMENTS)}
    for index in range(len(encoded)):
        with torch.no_grad():
            predictions = predict(model, collate(encoded, [index]))
            at = predictions.is_target_BT[0]
            logp_TV = predictions.logits_BTV[0][at].double().log_softmax(dim=-1)
        labels = predictions.labels_BT[0][at]
        own = logp_TV[torch.arange(len(labels)), labels]
        np.testing.assert_allclose(values["logp_M"][index], own.numpy(), atol=1e-5)
        assert values["is_top_M"][index].tolist() == (logp_TV.argmax(dim=-1) == labels).tolist()
        means = (logp_TV.exp() * logp_TV).sum(dim=-1)
        np.testing.assert_allclose(values["mean_logp_M"][index], means.numpy(), atol=1e-5)
        squares = (logp_TV.exp() * logp_TV.square()).sum(dim=-1) - means.square()
        np.testing.assert_allclose(values["variance_logp_M"][index], squares.numpy(), atol=1e-5)
        assert found.logp_N[index] == pytest.approx(float(own.sum()), abs=1e-4)


def test_moments_are_not_computed_where_nobody_reads_them_and_change_no_likelihood(model_and_set):
    model, encoded = model_and_set
    plain, full = (score_set(model, encoded, batch_size=4, reads=reads) for reads in ((), MOMENTS))
    assert plain.mean_logp_M is plain.variance_logp_M is None
    for name in ("logp_N", "logp_M", "is_top_M", "extracted_N"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(full, name))


def test_scores_that_are_remembered_are_those_of_the_set_and_fields_asked_for(model_and_set, monkeypatch):
    model, encoded = model_and_set
    other, asked = tiny_encoded(9, seed=2, longest=14, encoder_decoder=encoded.encoder_decoder), []
    monkeypatch.setattr(
        scoring, "score_set", lambda _, one, **options: (asked.append(one), score_set(model, one, **options))[1]
    )
    once = ScoredOnce()
    for _ in range(2):
        for one in (encoded, other):
            for reads in ((), MOMENTS, ("texts",)):
                expected = score_set(model, one, batch_size=4, reads=reads)
                found = once(model, one, batch_size=4, reads=reads)
                for field in fields(SetScores):
                    np.testing.assert_equal(getattr(found, field.name), getattr(expected, field.name))
    assert len(asked) == 4, "each set with moments, and without"


@pytest.mark.parametrize("without_last", [False, True])
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_gradient_norms_are_those_of_each_examples_mean_loss(model_and_set, p, without_last):
    model, encoded = model_and_set
    found = gradient_norms(model, encoded, p=p, without_last=without_last)
    assert all(parameter.grad is None for parameter in model.parameters())
    for index in range(len(encoded)):
        scores = score_batch(model, collate(encoded, [index]))
        logp = scores.logp_BT[0][scores.is_target_BT[0]]
        (-(logp[:-1] if without_last else logp).mean()).backward()
        grads = [q.grad if q.grad is not None else torch.zeros(1) for q in model.parameters()]
        expected = [float(torch.linalg.vector_norm(g, p)) for g in grads]
        np.testing.assert_allclose(found[index], expected, rtol=2e-5, atol=1e-7)
        model.zero_grad(set_to_none=True)


def test_gradient_norms_are_of_the_same_tensors_with_adapters_and_frozen_as_without():
    encoded = tiny_encoded(3, seed=1)
    expected = gradient_norms(tiny_model(seed=3).eval(), encoded, p=2.0)
    frozen = tiny_model(seed=3).eval().requires_grad_(False)
    adapted = add_adapters(tiny_model(seed=3), LoraConfig(rank=2, target_modules=["q_proj", "v_proj"]), seed=0).eval()
    for model in (frozen, adapted):
        trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        np.testing.assert_allclose(gradient_norms(model, encoded, p=2.0), expected, rtol=1e-5)
        assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == trained
        assert all(parameter.grad is None for parameter in model.parameters())


class Quantized(torch.nn.Parameter):
    """A weight as torchao has it: of a floating-point type by name, and without a gradient."""


def test_weights_without_gradients_have_no_norm_rather_than_that_of_the_others():
    sets = tiny_workload(metrics=["mia_gradient_norm", "mia_loss"]).evaluation_sets["forget"]
    model = tiny_model().eval()
    model.model.layers[0].mlp.up_proj.weight = Quantized(model.model.layers[0].mlp.up_proj.weight.detach())
    assert gradient_norms(model, sets.forget, p=2.0) is None
    evaluation, examples = evaluate(model, sets, batch_size=4, step=0, tokens_seen=0, elapsed_s=0.0)
    assert evaluation.metrics.keys() == {"mia_loss_auc", "mia_loss_tpr"}
    assert all(own.metrics.keys() == {"mia_loss"} for own in examples)


def test_selected_scores_are_those_of_the_selected_examples(model_and_set):
    model, encoded = model_and_set
    scores = score_set(model, encoded, batch_size=4, reads=MOMENTS)
    chosen = [5, 0, 5]
    again = score_set(model, encoded.select(chosen), batch_size=1, reads=MOMENTS)
    cut = scores.select(chosen)
    assert cut.num_targets_N.tolist() == again.num_targets_N.tolist()
    for name in ("logp_N", "logp_M", *MOMENTS):
        np.testing.assert_allclose(getattr(cut, name), getattr(again, name), atol=1e-5)
    wrong = SetScores.of([[-1.0], [-2.0, -3.0]], perturbed=(SetScores.of([[-4.0], [-5.0]]),), texts=("a", "b"))
    cut = wrong.select([1])
    assert (cut.logp_M.tolist(), cut.perturbed[0].logp_N.tolist(), cut.texts) == ([-2.0, -3.0], [-5.0], ("b",))


def test_a_causal_model_goes_on_from_its_prompt():
    """Checked one token at a time, without padding and without any of Transformers' generation."""
    model, tokenizer, encoded = tiny_model(seed=5).eval(), tiny_tokenizer(), tiny_encoded(5, seed=2, longest=16)
    task = GenerationTask(encoded=encoded, references=("",) * 5, tokenizer=tokenizer, longest=6)
    texts = generate(model, task, batch_size=3)
    end = model.generation_config.eos_token_id
    for index, text in enumerate(texts):
        start = encoded.offsets[index]
        tokens = encoded.tokens[start : start + encoded.prefix_ends_N[index]].tolist()
        given = len(tokens)
        for _ in range(6):
            with torch.no_grad():
                tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] == end:
                break
        assert text == tokenizer.decode(tokens[given:], skip_special_tokens=True)
        rest = encoded.tokens[start + given : encoded.offsets[index + 1]]
        assert truths(task)[index] == tokenizer.decode(rest, skip_special_tokens=True)


def test_samples_differ_and_are_the_same_again():
    model, tokenizer, encoded = tiny_model(seed=5).eval(), tiny_tokenizer(), tiny_encoded(4, seed=2)
    task = GenerationTask(encoded=encoded, references=("",) * 4, tokenizer=tokenizer, longest=8)
    state = torch.random.get_rng_state()
    drawn = [sample(model, task, samples=3, temperature=1.0, batch_size=2) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert torch.equal(state, torch.random.get_rng_state())
    assert [len(own) for own in drawn[0]] == [3] * 4
    assert len({text for own in drawn[0] for text in own}) > 4
    cold = sample(model, task, samples=1, temperature=1e-4, batch_size=4)
    assert [own[0] for own in cold] == generate(model, task, batch_size=4), "so cold that the likeliest token is drawn"


def test_sets_with_some_examples_are_cut_alike():
    metrics = ["mia_loss", "mia_zlib", "mia_reference", "privleak", "rouge", "exposure_tail"]
    sets = tiny_workload(metrics=metrics).evaluation_sets["forget"]
    cut = sets.with_examples(forget=[3, 1])
    assert cut.forget.example_ids == tuple(sets.forget.example_ids[i] for i in (3, 1))
    np.testing.assert_array_equal(cut.base_logp_N, sets.base_logp_N[[3, 1]])
    np.testing.assert_array_equal(cut.reference_logp_SN, sets.reference_logp_SN[:, [3, 1]])
    assert cut.texts["forget"] == tuple(sets.texts["forget"][i] for i in (3, 1))
    assert cut.prompted["forget"].encoded.example_ids == cut.forget.example_ids
    assert cut.texts["population"] == sets.texts["population"]
    fewer = cut.with_examples(population=[0, 2, 5, 7])
    assert fewer.forget is cut.forget
    assert fewer.population.example_ids == tuple(sets.population.example_ids[i] for i in (0, 2, 5, 7))
    for ours, theirs in zip((fewer.base, *fewer.references), (sets.base, *sets.references), strict=True):
        np.testing.assert_array_equal(ours["population"].logp_N, theirs["population"].logp_N[[0, 2, 5, 7]])
        np.testing.assert_array_equal(ours["forget"].logp_N, theirs["forget"].logp_N[[3, 1]])
    evaluation, examples = evaluate(tiny_model(), fewer, batch_size=4, step=0, tokens_seen=0, elapsed_s=0.0)
    assert {"privleak", "mia_reference_auc", "mia_zlib_auc", "rouge_l_f1"} <= evaluation.metrics.keys()
    assert len(examples) == 2
