"""An evaluation is made of the metrics of its parts, is finite, and marks collapse."""

import dataclasses
import math
import zlib
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from tests.support import tiny_encoded, tiny_model, tiny_tokenizer, tiny_workload
from trainables.config import EvaluationConfig
from trainables.encoding import AnswerSets
from trainables.metrics import (
    METRICS,
    Column,
    GenerationTask,
    Metric,
    NonFiniteEvaluationError,
    chosen_metrics,
    evaluate,
    exposure,
    score_named,
    score_set,
)
from trainables.metrics.difficulty import difficulty, memorization
from trainables.metrics.generation import generate
from trainables.metrics.scoring import gradient_norms
from trainables.records import Status


@pytest.fixture(scope="module")
def workload():
    return tiny_workload()


@pytest.fixture(scope="module")
def sets(workload):
    return workload.evaluation_sets["forget"]


def run(model, sets, batch_size=3):
    return evaluate(model, sets, batch_size=batch_size, step=5, tokens_seen=17, elapsed_s=2.5)


def test_choices_are_made_by_other_held_out_examples_than_those_that_are_shown(sets):
    model = tiny_model(seed=9).eval()
    both = dataclasses.replace(sets, selected=(0, 2))
    others = [index for index in range(len(sets.heldout)) if index not in (0, 2)]
    performance, heldout_nll = (
        score_set(model, sets.heldout.select(indices), batch_size=3).nll_per_token for indices in ([0, 2], others)
    )
    evaluation, _ = run(model, both)
    assert evaluation.performance == pytest.approx(performance)
    assert evaluation.heldout_nll == pytest.approx(heldout_nll)
    assert evaluation.performance != evaluation.heldout_nll
    assert evaluation.heldout_perplexity == math.exp(evaluation.heldout_nll)
    low, high = sorted((evaluation.performance, evaluation.heldout_nll))
    floor = dataclasses.replace(both, max_heldout_nll=(low + high) / 2)
    expected = Status.COMPLETED if evaluation.performance == low else Status.COLLAPSED
    assert run(model, floor)[0].status is expected, "the floor is of what choices are made by"


def test_every_number_of_an_evaluation_is_what_its_name_says(sets):
    model = tiny_model(seed=9).eval()
    evaluation, examples = run(model, sets)
    forget, population = (score_set(model, s, batch_size=3) for s in (sets.forget, sets.population))
    gen_ex = exposure.generalized_exposure(forget.logp_N[np.newaxis], sets.reference_logp_SN)
    rel_ex = exposure.relative_exposure(forget.nll_per_token_N, population.nll_per_token_N)
    heldout_nll = score_set(model, sets.heldout, batch_size=3).nll_per_token
    assert (evaluation.step, evaluation.tokens_seen, evaluation.elapsed_s) == (5, 17, 2.5)
    assert evaluation.status is Status.COMPLETED
    assert evaluation.forget_nll == forget.nll_per_token
    assert evaluation.gen_ex == gen_ex.mean()
    assert evaluation.gen_ex_abs == evaluation.unlearning_quality == np.abs(gen_ex).mean() > abs(evaluation.gen_ex)
    assert evaluation.gen_ex_per_token == pytest.approx(np.mean(gen_ex / forget.num_targets_N), rel=1e-12)
    assert evaluation.rel_ex == rel_ex.mean()
    assert evaluation.extraction_rate == forget.extracted_N.mean()
    assert evaluation.membership_auc == exposure.membership_auc(forget.nll_per_token_N, population.nll_per_token_N)
    assert evaluation.retain_nll == score_set(model, sets.retain, batch_size=3).nll_per_token
    assert evaluation.heldout_nll == evaluation.performance == heldout_nll
    assert evaluation.heldout_perplexity == math.exp(heldout_nll)
    assert evaluation.population_nll == population.nll_per_token
    assert evaluation.distractor_nll == score_set(model, sets.distractors, batch_size=3).nll_per_token

    assert [e.example_id for e in examples] == list(sets.forget.example_ids)
    assert [e.num_tokens for e in examples] == sets.forget.num_targets_N.tolist()
    assert [e.nll for e in examples] == forget.nll_per_token_N.tolist()
    assert [e.gen_ex for e in examples] == gen_ex.tolist()
    assert [e.rel_ex for e in examples] == rel_ex.tolist()
    known = (sets.reference_logp_SN, sets.forget.num_targets_N)
    assert [e.memorization for e in examples] == memorization(sets.base_logp_N, *known).tolist()
    assert [e.difficulty for e in examples] == difficulty(*known).tolist()


def test_without_references_quality_is_the_distance_to_the_expected_relative_exposure():
    workload = tiny_workload(references=0)
    evaluation, examples = run(workload.base.build(), workload.evaluation_sets["forget"])
    assert evaluation.gen_ex is evaluation.gen_ex_abs is evaluation.gen_ex_per_token is None
    assert all(e.gen_ex is e.memorization is e.difficulty is None for e in examples)
    distances = [abs(e.rel_ex - math.log2(math.e)) for e in examples]
    assert evaluation.unlearning_quality == pytest.approx(sum(distances) / len(distances))


def test_prices_on_its_own_kind_are_weighted_by_tokens_and_null_where_there_is_no_distractor(sets):
    model = tiny_model(seed=9).eval()
    evaluation, _ = run(model, sets)
    for name, own in (("population_nll", sets.population), ("distractor_nll", sets.distractors)):
        scores = [score_set(model, own.select([index]), batch_size=1) for index in range(len(own))]
        total = -sum(float(score.logp_N[0]) for score in scores)
        assert getattr(evaluation, name) == pytest.approx(total / sum(int(s.num_targets_N[0]) for s in scores))
    assert run(model, dataclasses.replace(sets, distractors=None))[0].distractor_nll is None


def test_a_reference_model_is_measured_against_the_others(sets):
    """By hand: likelihoods as exact fractions, one example and one model at a time."""
    models = [tiny_model(seed=seed).eval() for seed in (100, 101, 102)]
    references = tuple({"forget": score_set(model, sets.forget, batch_size=3)} for model in models)
    logp_SN = np.array([reference["forget"].logp_N for reference in references])
    all_references = dataclasses.replace(sets, references=references)
    for index, model in enumerate(models):
        evaluation, _ = run(model, all_references.without_reference(index))
        likelihoods = [[Fraction(math.exp(logp)) for logp in logp_N] for logp_N in logp_SN]
        others = [own for place, own in enumerate(likelihoods) if place != index]
        bits = [
            math.log2(p) - math.log2(sum(column, Fraction()) / len(others))
            for p, *column in zip(likelihoods[index], *others, strict=True)
        ]
        tokens = sets.forget.num_targets_N.tolist()
        assert evaluation.gen_ex == pytest.approx(sum(bits) / len(bits))
        absolute = sum(map(abs, bits)) / len(bits)
        assert evaluation.gen_ex_abs == evaluation.unlearning_quality == pytest.approx(absolute)
        per_token = [value / count for value, count in zip(bits, tokens, strict=True)]
        assert evaluation.gen_ex_per_token == pytest.approx(sum(per_token) / len(per_token))
        assert absolute > run(model, all_references)[0].gen_ex_abs, "a mean that contains the model is nearer to it"


def test_some_forget_examples_are_measured_as_they_are_among_all(sets):
    model = tiny_model(seed=9).eval()
    _, everything = run(model, sets)
    for chosen in ([4, 1], [0]):
        evaluation, examples = run(model, sets.with_examples(forget=chosen))
        expected = [everything[i] for i in chosen]
        assert [e.example_id for e in examples] == [e.example_id for e in expected]
        for found, wanted in zip(examples, expected, strict=True):
            assert (found.num_tokens, found.rel_ex, found.extracted) == (
                wanted.num_tokens,
                wanted.rel_ex,
                wanted.extracted,
            )
            for name in ("nll", "gen_ex", "memorization", "difficulty"):
                assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-5, abs=1e-6)
        assert evaluation.gen_ex == pytest.approx(sum(e.gen_ex for e in expected) / len(expected), rel=1e-5)
        assert evaluation.heldout_nll == run(model, sets)[0].heldout_nll


def test_other_texts_have_relative_exposure_and_nothing_that_takes_other_models(sets):
    model = tiny_model(seed=9).eval()
    forget, population = tiny_encoded(3, seed=40), tiny_encoded(5, seed=41)
    metrics = chosen_metrics(EvaluationConfig(metrics=["mia_reference", {"probability": {"of": ["facts", "forget"]}}]))
    sets = dataclasses.replace(sets, metrics=metrics)
    evaluation, examples = run(model, sets.with_texts(forget=forget, population=population))
    assert evaluation.metrics.keys() == {"probability"}, "facts are no other texts of the forget set"
    own, theirs = (score_set(model, encoded, batch_size=3) for encoded in (forget, population))
    rel_ex = exposure.relative_exposure(own.nll_per_token_N, theirs.nll_per_token_N)
    assert (evaluation.forget_nll, evaluation.population_nll) == (own.nll_per_token, theirs.nll_per_token)
    assert evaluation.rel_ex == rel_ex.mean()
    assert evaluation.gen_ex is evaluation.gen_ex_abs is None
    assert all(e.gen_ex is e.memorization is e.difficulty is None for e in examples)
    assert evaluation.unlearning_quality == pytest.approx(np.abs(rel_ex - math.log2(math.e)).mean())


def test_the_batch_size_changes_rounding_only(sets):
    model = tiny_model(seed=9)
    one, many = (run(model, sets, batch_size=size)[0].columns() for size in (1, 64))
    for numbers in (one, many):
        assert numbers.pop("status") is Status.COMPLETED
        numbers.pop("rel_ex_skew_normal")  # steep: it has tests of its own
        assert (numbers.pop("bleu"), numbers.pop("chrf")) == (None, None)  # of encoder-decoder models alone
    assert one == pytest.approx(many, rel=1e-4, abs=1e-5)


def with_answers(workload):
    """The workload's sets, with made-up answers, and every metric chosen."""
    sets = workload.evaluation_sets["forget"]

    def answers(seed, count):
        own = partial(tiny_encoded, count, encoder_decoder=sets.forget.encoder_decoder)
        return AnswerSets(
            original=own(seed=seed), paraphrase=own(seed=seed + 1), perturbed=(own(seed=seed + 2), own(seed=seed + 3))
        )

    own = {"forget": dataclasses.replace(answers(20, len(sets.forget)), original=sets.forget)}
    own |= {"retain": dataclasses.replace(answers(30, len(sets.retain)), original=sets.retain), "facts": answers(40, 3)}
    chosen = {name: {} for name in METRICS} | {"mia_min_k": {"nonmembers": "heldout"}}
    chosen["exposure_tail"] = {"relative_threshold": 2.0}  # of a population of 10 no example is above the default
    chosen["model_utility"] = {"kept": ["retain", "facts"], "max_new_tokens": 6}
    chosen["sampled_leakage"] = {"samples": 2, "max_new_tokens": 6}
    chosen["rouge"] = {"max_new_tokens": 4, "of": ["forget", "facts"]}
    metrics = chosen_metrics(EvaluationConfig(metrics=chosen))
    facts = GenerationTask(encoded=own["facts"].original, references=("",) * 3, tokenizer=tiny_tokenizer())
    sets = dataclasses.replace(sets, answers=own, prompted={**sets.prompted, "facts": facts}, metrics=metrics)
    if sets.forget.encoder_decoder:
        return sets
    references = tuple(
        {
            name: score_named(tiny_model(seed=seed).eval(), sets, name, batch_size=9, reads=ANSWERS)
            for name in ("forget", "population", "heldout")
        }
        for seed in (100, 101)
    )
    return dataclasses.replace(sets, references=references)


ANSWERS = frozenset({"paraphrase", "perturbed"})


@pytest.mark.parametrize("encoder_decoder", [False, True])
def test_chosen_metrics_are_computed_of_what_was_scored(encoder_decoder):
    sampled = {"sampled_leakage": {"samples": 2, "max_new_tokens": 6}, "rouge": {"max_new_tokens": 6}}
    names = [*sampled, "model_utility", "mia_zlib"]
    metrics = {name: sampled.get(name, {"kept": ["retain"]} if name == "model_utility" else {}) for name in names}
    workload = tiny_workload(encoder_decoder=encoder_decoder, metrics=metrics, references=0 if encoder_decoder else 2)
    sets = with_answers(workload)
    model = workload.base.build()
    evaluation, examples = run(model, sets)
    columns = {column for metric in METRICS.values() for column in metric.columns}
    columns |= {f"{column}[facts]" for column in METRICS["rouge"].columns}
    missing = columns - evaluation.metrics.keys()
    assert evaluation.metrics.keys() <= columns
    if not encoder_decoder:
        assert not missing
    else:
        assert missing == {
            "gen_ex_max", "gen_ex_p95", "exposed_share", "mia_reference_auc", "mia_reference_tpr", "privleak",
            "forget_quality", "forget_quality_ks",
        }, "without reference models"  # fmt: skip
    forget, population = (score_set(model, own, batch_size=3) for own in (sets.forget, sets.population))
    loss = exposure.membership_auc(forget.nll_per_token_N, population.nll_per_token_N)
    assert evaluation.metrics["mia_loss_auc"] == evaluation.membership_auc == loss
    assert [own.metrics["mia_loss"] for own in examples] == [own.nll for own in examples]
    if not encoder_decoder:
        assert evaluation.metrics["gen_ex_max"] == max(own.gen_ex for own in examples)
    bytes_N = [len(zlib.compress(text.encode())) for text in sets.texts["forget"]]
    expected = [own.nll / size for own, size in zip(examples, bytes_N, strict=True)]
    assert [own.metrics["mia_zlib"] for own in examples] == pytest.approx(expected)
    again, _ = run(model, dataclasses.replace(sets, metrics=()))
    assert again.metrics == {}
    assert dataclasses.replace(evaluation, metrics={}) == again, "they change nothing else"


def test_each_metric_has_what_its_own_settings_ask_for(monkeypatch):
    """Two metrics of one set, that generate texts of different lengths and take gradients by different norms."""
    seen = {}

    def noting(name, shipped, **columns):
        metric = METRICS[shipped]

        def compute(scores, settings, compat):
            seen[name] = scores.model["forget"]
            return dict.fromkeys(columns, 0.0)

        own = {column: Column(unit="", meaning="") for column in columns}
        return dataclasses.replace(metric, compute=compute, columns=own, example_columns={})

    for name, shipped in (
        ("one", "rouge"),
        ("two", "rouge"),
        ("three", "mia_gradient_norm"),
        ("four", "mia_gradient_norm"),
    ):
        monkeypatch.setitem(METRICS, name, noting(name, shipped, **{f"of_{name}": 0}))
    metrics = {"one": {"max_new_tokens": 2}, "two": {"max_new_tokens": 9}, "three": {"p": "1"}, "four": {"p": "inf"}}
    sets = tiny_workload(metrics={"rouge": {}}).evaluation_sets["forget"]
    model = tiny_model(seed=9).eval()
    run(model, dataclasses.replace(sets, metrics=chosen_metrics(EvaluationConfig(metrics=metrics))))
    for name, longest in (("one", 2), ("two", 9)):
        task = dataclasses.replace(sets.prompted["forget"], longest=longest)
        assert seen[name].generations == tuple(generate(model, task, batch_size=3))
    assert seen["one"].generations != seen["two"].generations
    for name, p in (("three", 1.0), ("four", math.inf)):
        np.testing.assert_array_equal(seen[name].gradient_norms_NP, gradient_norms(model, sets.forget, p=p))


def test_a_metric_without_a_finite_value_is_left_out(sets, monkeypatch):
    metric = Metric(
        compute=lambda scores, settings, compat: {
            "some": math.nan, "other": None, "third": 2.0, "each_N": np.array([1.0, math.inf, 2, 3, 4, 5])
        },
        columns={name: Column(unit="", meaning="") for name in ("some", "other", "third")},
        example_columns={"each": Column(unit="", meaning="")},
        source="this test",
    )  # fmt: skip
    monkeypatch.setitem(METRICS, "broken", metric)
    chosen = chosen_metrics(EvaluationConfig(metrics=["broken"]))
    evaluation, examples = run(tiny_model(), dataclasses.replace(sets, metrics=chosen))
    assert evaluation.metrics == {"third": 2.0}
    assert [own.metrics.get("each") for own in examples] == [1.0, None, 2.0, 3.0, 4.0, 5.0]


def test_evaluating_turns_dropout_off_and_changes_no_weights(sets):
    model = tiny_model(dropout=0.9).train()
    with torch.random.fork_rng():
        first, second = run(model, sets), run(model, sets)
    assert first == second
    assert first == run(tiny_model(), sets)


def test_beyond_the_floor_is_collapsed_and_on_it_is_not(sets):
    model = tiny_model()
    on_the_floor = run(model, sets)[0].heldout_nll
    assert run(model, dataclasses.replace(sets, max_heldout_nll=on_the_floor))[0].status is Status.COMPLETED
    below = math.nextafter(on_the_floor, 0)
    assert run(model, dataclasses.replace(sets, max_heldout_nll=below))[0].status is Status.COLLAPSED


def test_perplexity_is_capped_and_everything_stays_finite(sets):
    model = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1e4)
    evaluation, examples = run(model, sets)
    assert evaluation.heldout_nll > 88
    assert evaluation.heldout_perplexity == math.exp(88)
    assert evaluation.status is Status.COLLAPSED
    for record in (evaluation, *examples):
        assert all(math.isfinite(v) for v in dataclasses.asdict(record).values() if isinstance(v, float))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_is_not_finite_gives_no_record(sets, value):
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(value)
    with pytest.raises(NonFiniteEvaluationError, match="step 5"):
        run(model, sets)


def test_a_model_that_is_not_finite_on_distractors_alone_gives_no_record(sets):
    others = (sets.forget, sets.population, sets.heldout, sets.retain)
    used = set(np.concatenate([own.tokens for own in others]).tolist())
    token = next(token for token in sets.distractors.tokens.tolist() if token not in used)
    only = next(i for i in range(len(sets.distractors)) if token in sets.distractors.select([i]).tokens[:-1])
    model = tiny_model(tied=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = math.nan
    assert run(model, dataclasses.replace(sets, distractors=None))
    with pytest.raises(NonFiniteEvaluationError, match="step 5"):
        run(model, dataclasses.replace(sets, distractors=sets.distractors.select([only])))
