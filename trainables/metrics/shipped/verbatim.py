"""What a model recalls word by word under teacher forcing. Shape legend: N examples, T target tokens of an example."""

import numpy as np

from trainables.config import Compat
from trainables.metrics.metric import MetricSettings, Values
from trainables.metrics.scores import Array, Scores


def exact_memorization(scores: Scores, settings: MetricSettings, compat: Compat | None) -> Values:
    """Return the share of target tokens that are the most likely one (Tirumala et al. 2022, arXiv 2205.10770).

    ``compat`` leaves the last token out, and examples of one token.
    """
    forget = scores.model["forget"].without_last_target() if compat else scores.model["forget"]
    assert forget.is_top_M is not None
    share_N = np.array([top_T.mean() if len(top_T) else np.nan for top_T in forget.by_example(forget.is_top_M)])
    return {"exact_memorization": _mean(share_N), "exact_memorization_N": share_N}


def extraction_strength(scores: Scores, settings: MetricSettings, compat: Compat | None) -> Values:
    """Return 1 less the share of a target that has to be given until greedy decoding yields all the rest.

    Carlini et al. 2021, arXiv 2012.07805, as defined by arXiv 2406.09179, with the target as context. Nothing extracted
    is 0. ``compat`` leaves the last token out, counts the prefix to one less, so that nothing extracted is 1 / T, and
    has 0 for examples of one token.
    """
    forget = scores.model["forget"].without_last_target() if compat else scores.model["forget"]
    assert forget.is_top_M is not None
    strength_N = np.zeros(len(forget))
    for place, top_T in enumerate(forget.by_example(forget.is_top_M)):
        if len(top_T):
            misses = np.flatnonzero(~top_T)
            prefix = int(misses[-1]) + 1 if len(misses) else 0
            strength_N[place] = 1 - (min(prefix, len(top_T) - 1) if compat else prefix) / len(top_T)
    return {"extraction_strength": float(strength_N.mean()), "extraction_strength_N": strength_N}


def _mean(values_N: Array) -> float | None:
    """Return the mean of the numbers; None: there are none."""
    known = values_N[~np.isnan(values_N)]
    return float(known.mean()) if len(known) else None
