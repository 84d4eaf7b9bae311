"""A spec whose data lacks what a chosen metric looks at is refused before anything is trained."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from trainables.config import EvaluationConfig
from trainables.data import Datasets, Example, ForgetSet
from trainables.metrics import chosen_metrics
from trainables.preparation import find_metric_problems

PADDED, BARE = SimpleNamespace(pad_token_id=0), SimpleNamespace(pad_token_id=None)


def examples(label, count=3, **others):
    return tuple(
        Example(example_id=f"{label}-{i}", prompt=f"{label} {i}?", completion=f" {i}", **others) for i in range(count)
    )


@pytest.fixture
def datasets():
    wrong = {"perturbed": (" no", " never")}
    forget = ForgetSet(
        name="secrets",
        distribution="in",
        forget=examples("f", **wrong),
        repetitions=(1, 1, 1),
        population=examples("p"),
        distractors=(),
    )
    return Datasets(
        retain=examples("r"),
        heldout=examples("h"),
        forget_sets={"secrets": forget},
        evaluation={"facts": examples("w")},
    )


def problems(datasets, metrics, tokenizer=PADDED):
    chosen = chosen_metrics(EvaluationConfig(metrics=metrics))
    return [str(problem) for problem in find_metric_problems(chosen, datasets, tokenizer)]


def test_data_that_has_everything_is_accepted(datasets):
    assert problems(datasets, ["truth_ratio", "mia_loss", "rouge"]) == []
    full = replace(datasets, evaluation={"facts": examples("w", perturbed=(" no",))})
    assert problems(full, {"model_utility": {"kept": ["facts"]}}) == []


def test_a_metric_of_wrong_answers_needs_them(datasets):
    plain = replace(datasets.forget_sets["secrets"], forget=examples("f"))
    (found,) = problems(replace(datasets, forget_sets={"secrets": plain}), ["truth_ratio"])
    assert found.startswith("evaluation.metrics.truth_ratio: it compares with wrong answers, and the examples of ")
    assert "data.forget_sets.secrets have none" in found
    assert "columns: {perturbed: ...}" in found
    (found,) = problems(datasets, {"model_utility": {"kept": ["facts"]}})
    assert "the examples of data.evaluation_sets.facts have none" in found


@pytest.mark.parametrize("metrics", [{"model_utility": {"kept": ["heldout"]}}, {"truth_ratio": {"of": ["heldout"]}}])
def test_wrong_answers_of_sets_that_are_scored_without_them_are_refused(datasets, metrics):
    full = replace(datasets, heldout=examples("h", perturbed=(" no",)))
    (found,) = problems(full, metrics)
    assert "of the set 'heldout' evaluations score the completions only" in found
    assert "give the same source under data.evaluation_sets" in found


def test_further_sets_are_looked_for_in_the_data(datasets):
    assert problems(datasets, {"rouge": {"of": ["forget", "facts", "heldout"]}}) == []
    (found,) = problems(datasets, {"truth_ratio": {"of": ["forget", "facts"]}})
    assert "the examples of data.evaluation_sets.facts have none" in found
    (found,) = problems(datasets, {"probability": {"of": ["fact"]}})
    assert "did you mean 'facts'?" in found
    plain = replace(datasets.forget_sets["secrets"], forget=examples("f"))
    asked = replace(datasets, forget_sets={"secrets": plain}, evaluation={"facts": examples("w", perturbed=(" no",))})
    assert problems(asked, {"probability_among_options": {"of": ["facts"]}}) == [], "the forget set is not scored"


def test_a_set_that_there_is_not_is_named(datasets):
    (found,) = problems(datasets, {"model_utility": {"kept": ["fact"]}})
    assert "it looks at the set 'fact', which data.evaluation_sets does not have; did you mean 'facts'?" in found


def test_texts_are_generated_with_a_padding_token(datasets):
    (found,) = problems(datasets, ["rouge", "sampled_leakage", "mia_loss"], BARE)
    assert found.startswith(
        "evaluation.metrics: rouge, sampled_leakage, and the model's tokenizer has no padding token"
    )
    assert problems(datasets, ["mia_loss"], BARE) == []
