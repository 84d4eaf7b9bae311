"""Other answers to the prompts of a set, the completions in other words and wrong ones, as texts and encoded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from trainables.config import DataConfig, EvaluationConfig
from trainables.data import Datasets, Example
from trainables.encoding import AnswerSets, EncodedSet, Form, encode


def encode_answers(
    tokenizer: Any,
    datasets: Datasets,
    data: DataConfig,
    evaluation: EvaluationConfig,
    sets: Mapping[str, Mapping[str, EncodedSet]],
    *,
    form: Form = Form.TEXT,
    chat_date: date | None = None,
) -> dict[str, dict[str, AnswerSets]]:
    """Tokenize the other answers to the prompts of the sets that evaluations score.

    Args:
        tokenizer: of the model.
        datasets: the data of the sweep.
        data: how long examples may be, and how many retained ones are scored.
        evaluation: the share of a target that is given as prefix in extraction and generation.
        sets: the sets that evaluations score, by forget set (``encode_all``).
        form: how texts become tokens.
        chat_date: the date that a chat template gets, if it writes one.

    Returns:
        By forget set: the answers of every evaluation set by its name, and those of ``forget`` and ``retain`` where
        their examples have a paraphrase or perturbed answers.

    Raises:
        UnlearningError: an answer cannot be scored; the message names its example.
    """

    def encoded(examples: Sequence[Example]) -> EncodedSet:
        return encode(
            tokenizer,
            examples,
            max_tokens=data.max_tokens,
            form=form,
            extraction_prefix=evaluation.extraction_prefix,
            chat_date=chat_date,
        )

    def answers(examples: Sequence[Example], original: EncodedSet) -> AnswerSets:
        paraphrased = with_paraphrases(examples)
        return AnswerSets(
            original=original,
            paraphrase=None if paraphrased is None else encoded(paraphrased),
            perturbed=tuple(encoded(changed) for changed in with_perturbed(examples)),
        )

    shared = {name: answers(examples, encoded(examples)) for name, examples in datasets.evaluation.items()}
    retained = datasets.retain_sample(data.retain_evaluation)
    found = {}
    for name, own in datasets.forget_sets.items():
        if "retain" not in shared and _have_answers(retained):
            shared["retain"] = answers(retained, sets[name]["retain"])  # of all forget sets
        forget = {"forget": answers(own.forget, sets[name]["forget"])} if _have_answers(own.forget) else {}
        found[name] = {**forget, **shared}
    return found


def with_paraphrases(examples: Sequence[Example]) -> list[Example] | None:
    """Return the examples with the paraphrase in place of the completion; None: they have none."""
    if not len(examples) or examples[0].paraphrase is None:
        return None
    return [replace(example, completion=example.paraphrase) for example in examples if example.paraphrase is not None]


def with_perturbed(examples: Sequence[Example]) -> list[list[Example]]:
    """Return the examples with the first of their perturbed answers as completion, with the second, and so on."""
    count = len(examples[0].perturbed) if len(examples) else 0
    return [[replace(example, completion=example.perturbed[k]) for example in examples] for k in range(count)]


def _have_answers(examples: Sequence[Example]) -> bool:
    return bool(len(examples)) and (examples[0].paraphrase is not None or len(examples[0].perturbed) > 0)
