"""The metrics of TOFU (Maini et al. 2024, arXiv 2401.06121) that compare right with wrong answers.

Shape legend: N examples, K wrong answers of each.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import hmean, ks_2samp

from trainables.config import Compat
from trainables.metrics.metric import MetricSettings, Values
from trainables.metrics.scores import Array, ModelScores, Scores, SetScores
from trainables.metrics.shipped.generated import rouge_scores
from trainables.metrics.shipped.settings import ModelUtilitySettings, TruthRatioSettings

_EPSILON = 1e-10
_MOST = 700.0
"""Largest exponent of a ratio: exp of more overflows float64."""


def probability(scores: Scores, settings: MetricSettings, compat: Compat | None) -> Values:
    """Return the geometric mean of the probabilities of an answer's tokens, exp(-NLL per token), and its mean."""
    own_N = probabilities(scores.model["forget"])
    return {"probability": float(own_N.mean()), "probability_N": own_N}


def probability_among_options(scores: Scores, settings: MetricSettings, compat: Compat | None) -> Values:
    """Return p(answer) / (p(answer) + sum of p(wrong answers)), with the probabilities of whole answers.

    ``compat`` takes their tokens' geometric means, and adds 1e-10 to the divisor.
    """
    own_N = among_options(scores.model["forget"], compat)
    return {"probability_among_options": float(own_N.mean()), "probability_among_options_N": own_N}


def truth_ratio(scores: Scores, settings: TruthRatioSettings, compat: Compat | None) -> Values:
    """Return how much likelier wrong answers are than the right one, R, and an aggregate of it.

    R = mean over wrong answers of exp(-NLL per token) / the same of the reworded answer (the answer itself, where a set
    has no reworded ones). The mean is arithmetic; with ``compat`` geometric, and 1e-10 is added to divisors.
    """
    ratio_N = truth_ratios(scores.model["forget"], compat)
    epsilon = _EPSILON if compat else 0.0
    match settings.aggregate:
        case "closer_to_1":
            with np.errstate(divide="ignore"):
                mean = np.minimum(ratio_N, 1 / (ratio_N + epsilon)).mean()
        case "true_better":
            mean = np.maximum(0, 1 - ratio_N).mean()
        case "right_share":
            right_N, wrong_N = _right_and_wrong(scores.model["forget"], compat)
            if compat:
                mean = (np.exp(right_N) / (np.exp(right_N) + np.exp(wrong_N) + epsilon)).mean()
            else:  # of a collapsed model both underflow, and their quotient would be no number
                mean = expit(right_N - wrong_N).mean()
    return {"truth_ratio": float(mean), "truth_ratio_N": ratio_N}


def forget_quality(scores: Scores, settings: MetricSettings, compat: Compat | None) -> Values:
    """Return the two-sample Kolmogorov-Smirnov test of the truth ratios against those of a reference model.

    ``forget_quality`` is the two-sided p-value (1: as never trained), ``forget_quality_ks`` the statistic (0: the
    same). Against several reference models each is tested by itself, and both are the medians. None without any.
    """
    if not scores.references:
        return {"forget_quality": None, "forget_quality_ks": None}
    own_N = truth_ratios(scores.model["forget"], compat)
    tests = [ks_2samp(own_N, truth_ratios(reference["forget"], compat)) for reference in scores.references]
    return {
        "forget_quality": float(np.median([test.pvalue for test in tests])),
        "forget_quality_ks": float(np.median([test.statistic for test in tests])),
    }


def model_utility(scores: Scores, settings: ModelUtilitySettings, compat: Compat | None) -> Values:
    """Return the harmonic mean, over the sets that are kept, of probability, ROUGE-L recall and truth ratio.

    The probability is ``probability`` of the sets that ``plain`` names, and ``probability_among_options`` of others.
    The truth ratio is the mean of max(0, 1 - R). If one of them is 0, so is the utility.
    """
    parts = utility_parts(scores.model, settings, compat)
    return {"model_utility": float(hmean(list(parts.values())))}


def utility_parts(model: ModelScores, settings: ModelUtilitySettings, compat: Compat | None) -> Mapping[str, float]:
    """Return what model utility is the harmonic mean of, by set and measure, each 0 to 1."""
    parts: dict[str, float] = {}
    for name in settings.kept:
        own = model[name]
        assert own.truths is not None
        assert own.generations is not None
        right_N = probabilities(own) if name in settings.plain else among_options(own, compat)
        parts |= {
            f"{name}.probability": float(right_N.mean()),
            f"{name}.rouge_l_recall": float(rouge_scores(own.truths, own.generations)[:, 1].mean()),
            f"{name}.truth_ratio": float(np.maximum(0, 1 - truth_ratios(own, compat)).mean()),
        }
    return parts


def probabilities(own: SetScores) -> Array:
    """Return the geometric mean of the probabilities of each example's target tokens, [N]."""
    return np.exp(-own.nll_per_token_N)


def among_options(own: SetScores, compat: Compat | None) -> Array:
    """Return the share of the answer in the probability of all answers of each example, [N]."""
    answers = (own, *own.perturbed)
    if compat is not None:
        options_KN = np.array([probabilities(answer) for answer in answers])
        return np.asarray(options_KN[0] / (options_KN.sum(axis=0) + _EPSILON))
    logp_KN = np.array([answer.logp_N for answer in answers])
    return np.asarray(np.exp(logp_KN[0] - logsumexp(logp_KN, axis=0)))


def truth_ratios(own: SetScores, compat: Compat | None) -> Array:
    """Return the truth ratio R of each example, wrong over right, [N]. It is at most exp(700)."""
    right_N, wrong_N = _right_and_wrong(own, compat)
    if compat is not None:
        return np.asarray(np.exp(wrong_N) / (np.exp(right_N) + _EPSILON))
    return np.exp(np.minimum(wrong_N - right_N, _MOST))


def _right_and_wrong(own: SetScores, compat: Compat | None) -> tuple[Array, Array]:
    """Return the log of the right and of the mean wrong answer's geometric mean of token probabilities, [N] each."""
    right = own.paraphrase if own.paraphrase is not None else own
    wrong_KN = -np.array([answer.nll_per_token_N for answer in own.perturbed])
    wrong_N = wrong_KN.mean(axis=0) if compat else logsumexp(wrong_KN, axis=0) - np.log(len(wrong_KN))
    return -right.nll_per_token_N, np.asarray(wrong_N)
