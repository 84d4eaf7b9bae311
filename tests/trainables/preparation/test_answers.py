"""Other answers, encoded: which sets have them, what is scored of each, and what of it is in hashes."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support import tiny_architecture, tiny_model, tiny_tokenizer
from trainables.config import DataConfig, EvaluationConfig, ModelConfig
from trainables.data import Datasets, Example, ForgetSet
from trainables.encoding import AnswerSets, encode
from trainables.preparation import encode_all, encode_answers, encode_scored, evaluation_sets, tokens_hash

DATA = DataConfig(
    retain=6,
    retain_evaluation=3,
    heldout=2,
    forget_sets={name: {"distribution": "in", "size": 2, "population": 2} for name in ("one", "other")},
)

EVALUATION = EvaluationConfig()


def examples(label, count, *, wrong=0, paraphrased=False):
    return tuple(
        Example(
            example_id=f"{label}-{i}",
            prompt=f"{label} {i}?",
            completion=f" right {i}",
            paraphrase=f" just right {i}" if paraphrased else None,
            perturbed=tuple(f" wrong {i} {'very ' * k}" for k in range(wrong)),
        )
        for i in range(count)
    )


def datasets(**evaluation):
    def forget_set(name, **answers):
        return ForgetSet(
            name=name,
            distribution="in",
            forget=examples(f"{name} forget", 2, **answers),
            population=examples(f"{name} population", 2),
            distractors=(),
            repetitions=(1, 1),
        )

    return Datasets(
        retain=examples("retain", 6, wrong=2),
        heldout=examples("heldout", 2, wrong=4),
        forget_sets={"one": forget_set("one", wrong=3, paraphrased=True), "other": forget_set("other")},
        evaluation=evaluation,
    )


def texts(encoded):
    """Return the targets of a set as texts, without white space at their ends."""
    ids = [encoded.tokens[encoded.offsets[i] : encoded.offsets[i + 1]] for i in range(len(encoded))]
    return [
        tiny_tokenizer().decode(one[start:]).strip() for one, start in zip(ids, encoded.target_starts_N, strict=True)
    ]


def answers(found, evaluation=EVALUATION):
    encoded = encode_all(tiny_tokenizer(), found, DATA, evaluation)
    return encode_answers(tiny_tokenizer(), found, DATA, evaluation, encoded)


def test_every_set_that_has_other_answers_is_encoded_with_each_of_them():
    found = answers(datasets(facts=examples("facts", 3, wrong=2), plain=examples("plain", 2)))
    assert {name: set(sets) for name, sets in found.items()} == {
        "one": {"forget", "retain", "facts", "plain"},
        "other": {"retain", "facts", "plain"},
    }
    forget, retain = found["one"]["forget"], found["one"]["retain"]
    assert texts(forget.original) == ["right 0", "right 1"]
    assert texts(forget.paraphrase) == ["just right 0", "just right 1"]
    assert [texts(wrong) for wrong in forget.perturbed] == [
        ["wrong 0", "wrong 1"], ["wrong 0 very", "wrong 1 very"], ["wrong 0 very very", "wrong 1 very very"]
    ]  # fmt: skip
    assert (retain.paraphrase, len(retain.perturbed), len(retain.original)) == (None, 2, 3)
    assert (found["one"]["facts"].paraphrase, len(found["one"]["facts"].perturbed)) == (None, 2)
    assert found["one"]["plain"].perturbed == ()
    for one in found["one"].values():
        for part in one.parts:
            assert part.example_ids == one.original.example_ids
            prompts = [part.tokens[o : o + s] for o, s in zip(part.offsets[:-1], part.target_starts_N, strict=True)]
            own = one.original
            for prompt, o, s in zip(prompts, own.offsets[:-1], own.target_starts_N, strict=True):
                np.testing.assert_array_equal(prompt, own.tokens[o : o + s])


def test_texts_without_a_prompt_are_continued_from_the_prefix_that_the_evaluation_gives():
    (long,) = examples("long", 1)
    given = datasets(long=(replace(long, prompt="", completion=" and so forth unto the seven mountains of the king"),))
    ends = [
        int(answers(given, EvaluationConfig(extraction_prefix=share))["one"]["long"].original.prefix_ends_N[0])
        for share in (0.25, 0.5, 0.75)
    ]
    assert ends[0] < ends[1] < ends[2]


def test_what_all_forget_sets_share_is_encoded_once():
    found = answers(datasets(facts=examples("facts", 3)))
    assert all(found["one"][name] is found["other"][name] for name in ("retain", "facts"))


def test_originals_are_the_sets_that_evaluations_score():
    given = datasets()
    encoded = encode_all(tiny_tokenizer(), given, DATA, EvaluationConfig())
    found = encode_answers(tiny_tokenizer(), given, DATA, EvaluationConfig(), encoded)
    assert found["one"]["forget"].original is encoded["one"]["forget"]
    assert found["one"]["retain"].original is encoded["one"]["retain"]
    models = [tiny_model()]
    sets = evaluation_sets(encoded, models=models, batch_size=4, max_increase=1, answers=found)
    assert sets["one"].answers is found["one"]
    assert evaluation_sets(encoded, models=models, batch_size=4, max_increase=1)["one"].answers == {}


def test_some_answers_are_those_to_some_prompts():
    whole = answers(datasets())["one"]["forget"]
    some = whole.select([1])
    assert [texts(part) for part in some.parts] == [texts(part)[1:] for part in whole.parts]
    assert len(some.parts) == 5
    alone = AnswerSets(original=whole.original)
    assert alone.select([0]).parts[0].example_ids == whole.original.example_ids[:1]


@pytest.mark.parametrize("alternates", [False, True])
def test_what_is_scored_is_named_and_hashed_with_every_answer(alternates):
    def scored(given):
        own = {
            name: replace(one, forget=tuple(replace(e, alternate=" no") for e in one.forget))
            for name, one in given.forget_sets.items()
        }
        return encode_scored(
            tiny_tokenizer(),
            replace(given, forget_sets=own),
            model=ModelConfig(architecture=tiny_architecture()),
            data=DATA,
            evaluation=EvaluationConfig(),
            alternates=alternates,
        )

    bare = Datasets(
        retain=examples("retain", 6),
        heldout=examples("heldout", 2),
        forget_sets={
            name: replace(one, forget=examples(f"{name} forget", 2)) for name, one in datasets().forget_sets.items()
        },
    )
    without, full = scored(bare), scored(datasets(facts=examples("facts", 3, wrong=1)))
    assert not [where for where in without if "perturbed" in where or "paraphrase" in where or "facts" in where]
    assert full.keys() - without.keys() == {
        "data.retain_evaluation (perturbed 1)", "data.retain_evaluation (perturbed 2)",
        "data.evaluation_sets.facts", "data.evaluation_sets.facts (perturbed 1)",
        "data.forget_sets.one (paraphrase)", *(f"data.forget_sets.one (perturbed {k})" for k in (1, 2, 3)),
    }  # fmt: skip
    assert tokens_hash({name: full[name] for name in without}) == tokens_hash(without)
    assert tokens_hash(full) != tokens_hash(without)


def test_an_answer_that_cannot_be_scored_is_named():
    long = tuple(replace(e, perturbed=(" and so on" * 200,)) for e in examples("facts", 1))
    with pytest.raises(ValueError, match=r"example 'facts-0': .* above data\.max_tokens = 128"):
        answers(datasets(facts=long))


def test_the_encoded_answers_of_a_prompt_are_those_of_the_example_alone():
    (example,) = examples("alone", 1, wrong=1, paraphrased=True)
    found = answers(datasets(alone=(example,)))["one"]["alone"]
    for text, part in zip((example.paraphrase, *example.perturbed), (found.paraphrase, *found.perturbed), strict=True):
        alone = encode(tiny_tokenizer(), [replace(example, completion=text)], max_tokens=128)
        np.testing.assert_array_equal(part.tokens, alone.tokens)
