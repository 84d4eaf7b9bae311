"""Rewording: the prompts that are made, what is scored after them, and exposure against reference models."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROPERTY, deterministic, same_state, state_of
from tests.trainables.probes.probed import KINDS, TEXTS, encoded, probed_model
from trainables.data import Example
from trainables.errors import UnlearningError
from trainables.metrics import evaluate, score_set
from trainables.metrics.exposure import generalized_exposure
from trainables.probes import check_probe, run_probe
from trainables.probes.prompts import in_other_case, with_prompt, without_first_words

WORDED = st.text(st.sampled_from("ab A\n\t.{}"), max_size=20)


def run(probed, **given):
    return list(run_probe("rewording", check_probe("rewording", given), probed))


def reworded(examples, change):
    return [dataclasses.replace(e, prompt=change(e.prompt)) for e in examples]


@pytest.mark.parametrize(
    ("prompt", "count", "left"),
    [
        ("one two three", 1, "two three"),
        ("one two three", 2, "three"),
        ("one two three", 9, "three"),
        ("  one two ", 1, "two "),
        ("one", 1, "one"),
        ("one ", 1, "one "),
        ("one\n\ntwo  three", 1, "two  three"),
    ],
)
def test_first_words_are_dropped_and_at_least_one_stays(prompt, count, left):
    assert without_first_words(prompt, count) == left


@given(WORDED, st.integers(1, 5))
@PROPERTY
def test_dropping_words_is_what_a_loop_over_words_does(prompt, count):
    dropped = without_first_words(prompt, count)
    words = prompt.split()
    assert prompt.endswith(dropped)
    assert dropped.split() == words[min(count, max(0, len(words) - 1)) :]


def test_case_changes_whatever_it_was():
    assert [in_other_case(text) for text in ("The King", "the king", "THE", "7")] == [
        "the king",
        "THE KING",
        "the",
        "7",
    ]


@given(WORDED, WORDED, st.floats(0.01, 0.99))
@PROPERTY
def test_a_text_without_a_prompt_is_divided_between_words_and_nothing_is_lost(prompt, completion, share):
    example = Example(example_id="x", prompt=prompt, completion=completion)
    divided = with_prompt(example, share)
    words = completion.split()
    if prompt:
        assert divided == example
    elif len(words) < 2:
        assert divided is None
    else:
        assert divided.text == completion
        given_words = divided.prompt.split()
        assert given_words == words[: min(max(1, round(share * len(words))), len(words) - 1)]
        assert re.fullmatch(r"\s+\S.*", divided.completion, re.DOTALL)


VARIANTS = {
    "dropped-words": lambda prompt: prompt.split(maxsplit=2)[2],
    "changed-case": str.lower,
    "template-1": lambda prompt: f"Q {prompt}",
    "template-2": lambda prompt: f"{prompt} {{}}",
}
TEMPLATES = ["Q {prompt}", "{prompt} {}"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_rewording_is_scored_as_texts_with_these_prompts(kind):
    probed = probed_model(kind)
    records = run(probed, templates=TEMPLATES)
    assert [r.variant for r in records] == list(VARIANTS)
    original, _ = evaluate(probed.model, probed.sets, batch_size=16, step=0, tokens_seen=0, elapsed_s=0.0)
    for record in records:
        ours, theirs = (
            encoded(kind, reworded(TEXTS[name], VARIANTS[record.variant])) for name in ("forget", "population")
        )
        sets = dataclasses.replace(probed.sets, forget=ours, population=theirs)
        expected, _ = evaluate(probed.model, sets, batch_size=16, step=0, tokens_seen=0, elapsed_s=0.0)
        for found, wanted in ((record.before, original), (record.after, expected)):
            assert found.gen_ex is None, "no model was given to compare with"
            for name in ("forget_nll", "rel_ex", "membership_auc", "population_nll", "heldout_nll", "extraction_rate"):
                assert getattr(found, name) == getattr(wanted, name)
        assert record.after.forget_nll != record.before.forget_nll
        assert record.amount is None
        assert record.scores == {"changed": 1.0, "measured": 8.0}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("references", [1, 2])
def test_base_and_reference_models_score_the_same_texts(kind, references):
    roles = ["base", *(f"reference-{i}" for i in range(references))]
    models = {role: probed_model(kind, role).model for role in ("unlearned", *roles)}
    probed = probed_model(kind, references=references, compared_models=lambda: (models[role] for role in roles))
    records = run(probed, templates=TEMPLATES)
    assert len(records) == 4
    for record in records:
        for found, texts in (
            (record.before, TEXTS["forget"]),
            (record.after, reworded(TEXTS["forget"], VARIANTS[record.variant])),
        ):
            scores = {
                role: score_set(model, encoded(kind, texts), batch_size=16).logp_N for role, model in models.items()
            }
            theirs = np.array([scores[role] for role in roles[1:]])
            gen_ex_N = generalized_exposure(scores["unlearned"][np.newaxis], theirs)
            assert found.gen_ex == pytest.approx(gen_ex_N.mean())
            assert found.unlearning_quality == pytest.approx(np.abs(gen_ex_N).mean())
            assert "mia_reference_auc" in found.metrics


def test_under_autocast_the_compared_models_score_in_full_precision():
    roles = ("base", "reference-0")
    models = [probed_model(role=role).model for role in roles]
    probed = probed_model(references=1, compared_models=lambda: iter(models))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        (record,) = run(probed, changes=["changed-case"])
        own = score_set(probed.model, encoded("causal", TEXTS["forget"]), batch_size=16).logp_N
    theirs = score_set(models[1], encoded("causal", TEXTS["forget"]), batch_size=16).logp_N
    assert record.before.gen_ex == pytest.approx(generalized_exposure(own[np.newaxis], theirs[np.newaxis]).mean())


def test_a_text_without_a_prompt_is_scored_after_its_first_words():
    plain = {
        name: [Example(example_id=e.example_id, prompt="", completion=e.completion) for e in TEXTS[name]]
        for name in ("forget", "population")
    }
    plain["forget"][3] = Example(example_id="forget-3", prompt="", completion=" single")
    probed = probed_model(**plain)
    (record,) = run(probed, changes=["changed-case"], prefix=0.4)
    divided = [with_prompt(e, 0.4) for e in plain["forget"]]
    assert record.scores["measured"] == 7
    for found, change in ((record.before, str), (record.after, in_other_case)):
        own = encoded("causal", reworded([e for e in divided if e is not None], change))
        assert found.forget_nll == score_set(probed.model, own, batch_size=16).nll_per_token


def test_examples_that_a_template_makes_too_long_are_left_out_before_and_after():
    new = np.diff(encoded("causal", reworded(TEXTS["forget"], "xyz {}".format)).offsets)
    limit = sorted(new.tolist())[4]
    kept = np.flatnonzero(new <= limit).tolist()
    assert 0 < len(kept) < 8
    probed = probed_model(max_tokens=limit)
    (record,) = run(probed, changes=["template"], templates=["xyz {prompt}"])
    assert record.scores["measured"] == len(kept)
    own = encoded("causal", [TEXTS["forget"][i] for i in kept])
    assert record.before.forget_nll == score_set(probed.model, own, batch_size=16).nll_per_token
    nothing = run(dataclasses.replace(probed, max_tokens=8), changes=["template", "changed-case"])
    assert [r.variant for r in nothing] == ["changed-case", "template-1", "template-2"]
    assert {(r.before, r.after, r.scores["measured"]) for r in nothing} == {(None, None, 0.0)}


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_of_the_data_are_tried_with_a_population_as_it_is(kind):
    prompts = [f"Say {i} now" if i else e.prompt for i, e in enumerate(TEXTS["forget"])]
    asked = [dataclasses.replace(e, other_prompts=(p,)) for e, p in zip(TEXTS["forget"], prompts, strict=True)]
    asked[3] = dataclasses.replace(asked[3], other_prompts=(prompts[3], "Or say 3"))
    first, second = run(probed_model(kind, forget=asked), changes=[])
    own = encoded(kind, [dataclasses.replace(e, prompt=p) for e, p in zip(TEXTS["forget"], prompts, strict=True)])
    assert first.variant == "other-prompt-1"
    assert (first.scores["changed"], first.scores["measured"]) == (7 / 8, 8)
    assert first.after.forget_nll == score_set(probed_model(kind).model, own, batch_size=16).nll_per_token
    assert first.after.population_nll == first.before.population_nll
    assert (second.variant, second.scores["measured"]) == ("other-prompt-2", 1), "of those that have a second"


def test_a_population_with_prompts_of_its_own_is_reworded_too():
    forget, population = (
        [dataclasses.replace(e, other_prompts=(f"And {e.prompt}",)) for e in TEXTS[name]]
        for name in ("forget", "population")
    )
    (record,) = run(probed_model(forget=forget, population=population), changes=[])
    assert record.after.population_nll != record.before.population_nll


def test_nothing_is_drawn_and_the_model_is_as_it_was():
    probed = probed_model()
    before = state_of(probed.model)
    once, again = (run(dataclasses.replace(probed, seed=seed)) for seed in (1, 2))
    assert deterministic([r.after for r in once]) == deterministic([r.after for r in again])
    assert same_state(state_of(probed.model), before)


def test_a_population_without_its_texts_is_refused():
    with pytest.raises(UnlearningError, match="0 texts are given of a population of 12 examples"):
        run(probed_model(population=[]))
