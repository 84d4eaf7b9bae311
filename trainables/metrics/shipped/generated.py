"""Metrics of generated texts: ROUGE, and what sampling at a temperature brings out. Shape legend: N examples."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from trainables.config import Compat
from trainables.metrics.metric import Values
from trainables.metrics.scores import Array, Scores
from trainables.metrics.shipped.settings import GenerationSettings, SampledLeakageSettings


def rouge(scores: Scores, settings: GenerationSettings, compat: Compat | None) -> Values:
    """Return ROUGE-1 recall, ROUGE-L recall and F1 of greedy generations (Lin 2004), by ``rouge-score`` with stemming.

    The mean over the forget examples of each, 0 to 1.
    """
    forget = scores.model["forget"]
    assert forget.truths is not None
    assert forget.generations is not None
    found_N3 = rouge_scores(forget.truths, forget.generations)
    names = ("rouge_1_recall", "rouge_l_recall", "rouge_l_f1")
    values: dict[str, float | Array | None] = {}
    for name, own_N in zip(names, found_N3.T, strict=True):
        values |= {name: float(own_N.mean()), f"{name}_N": own_N}
    return values


def sampled_leakage(scores: Scores, settings: SampledLeakageSettings, compat: Compat | None) -> Values:
    """Return what the closest of several sampled texts shows of each forget example, by ROUGE-L recall, 0 to 1.

    ``sampled_leakage`` is the mean over examples of the largest recall among their samples, ``sampled_extraction`` the
    share of examples of which some sample begins with the whole truth.
    """
    forget = scores.model["forget"]
    assert forget.truths is not None
    assert forget.samples is not None
    closest_N = np.zeros(len(forget))
    whole_N = np.zeros(len(forget), dtype=bool)
    for place, (truth, texts) in enumerate(zip(forget.truths, forget.samples, strict=True)):
        closest_N[place] = rouge_scores([truth] * len(texts), texts)[:, 1].max()
        whole_N[place] = any(text.strip().startswith(truth.strip()) for text in texts)
    return {
        "sampled_leakage": float(closest_N.mean()),
        "sampled_extraction": float(whole_N.mean()),
        "sampled_leakage_N": closest_N,
    }


def rouge_scores(truths: Sequence[str], texts: Sequence[str]) -> Array:
    """Return ROUGE-1 recall, ROUGE-L recall and ROUGE-L F1 of each text against its truth, [N, 3], 0 to 1."""
    scorer = _scorer()
    found = [scorer.score(truth, text) for truth, text in zip(truths, texts, strict=True)]
    return np.array([[one["rouge1"].recall, one["rougeL"].recall, one["rougeL"].fmeasure] for one in found])


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415  # it loads NLTK, which takes a second

    return RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
