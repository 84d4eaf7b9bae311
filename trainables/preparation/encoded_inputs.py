"""Every set that a sweep scores or trains on, tokenized before it starts and named by its spec key; and their hash."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trainables.config import DataConfig, EvaluationConfig, ModelConfig
from trainables.data import Datasets, Example, StoredExamples
from trainables.encoding import EncodedSet, encode
from trainables.errors import UnlearningError
from trainables.preparation.answers import with_paraphrases, with_perturbed
from trainables.preparation.evaluation_data import form_of

_SAMPLED = 1024
"""Examples of a stored retain set that are tokenized before a sweep: so many evenly spread, and so many of the most
characters. Workers check all of it when they train."""


def encode_scored(
    tokenizer: Any,
    datasets: Datasets,
    *,
    model: ModelConfig,
    data: DataConfig,
    evaluation: EvaluationConfig,
    alternates: bool,
) -> dict[str, EncodedSet]:
    """Tokenize every set that is scored or ascended on.

    Args:
        tokenizer: of the model.
        datasets: the data of the sweep.
        model: the form of examples, and the date that a chat template gets.
        data: how long examples may be, and how many retained ones are scored.
        evaluation: the share of a target that is given as prefix in extraction.
        alternates: whether an objective trains on the alternate answers.

    Returns:
        The sets by spec key, and which part of it.

    Raises:
        UnlearningError: an example cannot be scored; the message names the set and the example.
    """
    sets: dict[str, Sequence[Example]] = {
        "data.heldout": datasets.heldout,
        "data.retain_evaluation": datasets.retain_sample(data.retain_evaluation),
    }
    sets |= _other_answers("data.retain_evaluation", sets["data.retain_evaluation"])
    for name, examples in datasets.evaluation.items():
        where = f"data.evaluation_sets.{name}"
        sets |= {where: examples, **_other_answers(where, examples)}
    for name, own in datasets.forget_sets.items():
        sets |= {
            f"data.forget_sets.{name} (forget)": own.forget,
            f"data.forget_sets.{name} (population)": own.population,
            f"data.forget_sets.{name} (distractors)": own.distractors,
            **({f"data.forget_sets.{name} (alternate)": with_alternates(own.forget)} if alternates else {}),
            **_other_answers(f"data.forget_sets.{name}", own.forget),
        }
    options = {"extraction_prefix": evaluation.extraction_prefix, **_options(model, data)}
    return {where: _encoded(where, tokenizer, examples, options) for where, examples in sets.items()}


def encode_retained(
    tokenizer: Any, datasets: Datasets, *, model: ModelConfig, data: DataConfig
) -> dict[str, EncodedSet]:
    """Tokenize the retain set; of a large stored one, only examples spread over it and its longest texts.

    Raises:
        UnlearningError: as ``encode_scored``.
    """
    retain = datasets.retain
    if isinstance(retain, StoredExamples) and len(retain) > 2 * _SAMPLED:
        characters_N = np.fromiter((len(example.text) for example in retain), dtype=np.int64, count=len(retain))
        longest = np.argpartition(characters_N, -_SAMPLED)[-_SAMPLED:].tolist()
        chosen = sorted({*range(0, len(retain), len(retain) // _SAMPLED), *longest})
        retain = [retain[index] for index in chosen]
    return {"data.retain": _encoded("data.retain", tokenizer, retain, _options(model, data))}


def with_alternates(examples: Sequence[Example]) -> list[Example]:
    """Return the forget examples with their alternate answers in place of their completions."""
    found = []
    for example in examples:
        assert example.alternate is not None  # examples of forget sets have one
        found.append(replace(example, completion=example.alternate))
    return found


def _other_answers(where: str, examples: Sequence[Example]) -> dict[str, Sequence[Example]]:
    """Return the paraphrased and each of the perturbed answers of a set, by its spec key and what they are."""
    paraphrased, perturbed = with_paraphrases(examples), with_perturbed(examples)
    return {
        **({f"{where} (paraphrase)": paraphrased} if paraphrased is not None else {}),
        **{f"{where} (perturbed {number})": changed for number, changed in enumerate(perturbed, start=1)},
    }


def tokens_hash(sets: Mapping[str, EncodedSet]) -> str:
    """Return the SHA-256, in hex, of token ids and of where targets and the parts to extract begin."""
    digest = hashlib.sha256()
    for where, encoded in sorted(sets.items()):
        digest.update(f"{where}\0{len(encoded)}\0".encode())
        for array in (encoded.tokens, encoded.offsets, encoded.target_starts_N, encoded.prefix_ends_N):
            digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()


def _options(model: ModelConfig, data: DataConfig) -> dict[str, Any]:
    return {"max_tokens": data.max_tokens, "form": form_of(model), "chat_date": model.chat_date}


def _encoded(where: str, tokenizer: Any, examples: Sequence[Example], options: dict[str, Any]) -> EncodedSet:
    try:
        return encode(tokenizer, examples, **options)
    except UnlearningError as error:
        raise UnlearningError(f"{where}: {error}") from error
