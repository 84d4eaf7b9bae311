"""Membership attacks: how well forget examples are told from examples that no model was trained on.

Every attack gives each example a score that is lower for members, so that an area under the ROC curve of 1 is a forget
set plainly remembered. What is expected of a model that never saw it is not 0.5 but what the reference models have.

Shape legend: N examples of a set, P parameter tensors, T target tokens of an example.
"""

import math
import zlib
from collections.abc import Callable

import numpy as np

from trainables.config import Compat
from trainables.metrics.exposure import membership_auc
from trainables.metrics.metric import Values
from trainables.metrics.scores import Array, ModelScores, Scores, SetScores
from trainables.metrics.shipped.settings import (
    AttackSettings,
    GradientNormSettings,
    MinKPlusPlusSettings,
    MinKSettings,
    PrivLeakSettings,
)

Attack = Callable[[SetScores], Array]
"""Returns a score for each example of a set, [N], lower for members."""

_NO_REFERENCE_AUC = 0.5
"""What open-unlearning takes for the reference model's area where there is none."""
_EPSILON = 1e-10


def mia_loss(scores: Scores, settings: AttackSettings, compat: Compat | None) -> Values:
    """Return how well NLL in nats per token tells members (Yeom et al. 2018, arXiv 1709.01604)."""
    return _attacked("mia_loss", scores, settings, lambda own: own.nll_per_token_N)


def mia_zlib(scores: Scores, settings: AttackSettings, compat: Compat | None) -> Values:
    """Return how well NLL by byte of the compressed target tells members (Carlini et al. 2021, arXiv 2012.07805).

    NLL is in nats per token; the bytes are those of ``zlib.compress`` of the UTF-8 text.
    """
    return _attacked("mia_zlib", scores, settings, lambda own: own.nll_per_token_N / compressed_bytes(own))


def mia_min_k(scores: Scores, settings: MinKSettings, compat: Compat | None) -> Values:
    """Return how well the mean NLL of the least likely tokens tells members (Shi et al. 2023, arXiv 2310.16789)."""
    return _attacked("mia_min_k", scores, settings, lambda own: min_k(own, settings.share(compat), compat))


def mia_min_k_plus_plus(scores: Scores, settings: MinKPlusPlusSettings, compat: Compat | None) -> Values:
    """Return how well Min-K%++ tells members (Zhang et al. 2024, arXiv 2404.02936).

    As Min-K%, of each token's log p less its mean over the vocabulary, divided by its standard deviation there.
    """

    def attack(own: SetScores) -> Array:
        own = own.without_last_target() if compat else own
        assert own.logp_M is not None
        assert own.mean_logp_M is not None
        assert own.variance_logp_M is not None
        deviation_M = np.sqrt(np.maximum(own.variance_logp_M, settings.variance_floor))
        return _lowest(own, (own.logp_M - own.mean_logp_M) / deviation_M, settings.share(compat), compat)

    return _attacked("mia_min_k_plus_plus", scores, settings, attack)


def mia_gradient_norm(scores: Scores, settings: GradientNormSettings, compat: Compat | None) -> Values:
    """Return how well the norm of the gradient of an example's mean NLL tells members (arXiv 2402.17012).

    It is the norm of all parameters as one vector. ``compat`` takes the mean of the tensors' own norms. None where
    weights are quantized tensors, which have no gradient.
    """
    if scores.model["forget"].gradient_norms_NP is None:
        return _untold("mia_gradient_norm", scores)

    def attack(own: SetScores) -> Array:
        norms_NP = own.gradient_norms_NP
        assert norms_NP is not None
        if compat is not None:
            return np.asarray(norms_NP.mean(axis=1))
        return np.asarray(np.linalg.norm(norms_NP, ord=float(settings.p), axis=1))

    return _attacked("mia_gradient_norm", scores, settings, attack)


def mia_reference(scores: Scores, settings: AttackSettings, compat: Compat | None) -> Values:
    """Return how well NLL less the reference models' tells members (Carlini et al. 2021, arXiv 2012.07805).

    Both are in nats per token; of several reference models it is the mean. None without reference models.
    """
    if not scores.references:
        return _untold("mia_reference", scores)

    def calibrated(name: str) -> Array:
        known_SN = np.array([reference[name].nll_per_token_N for reference in scores.references])
        return np.asarray(scores.model[name].nll_per_token_N - known_SN.mean(axis=0))

    return _told_apart("mia_reference", calibrated("forget"), calibrated(settings.nonmembers), settings)


def privleak(scores: Scores, settings: PrivLeakSettings, compat: Compat | None) -> Values:
    """Return PrivLeak in percent (Shi et al. 2024, MUSE, arXiv 2407.06460).

    100 (a - r) / r with a = 1 - AUC of Min-K% of the model, and r the same of the reference models (their mean). 0 is
    as never trained; negative: the forget set shows more than that; positive: less. None without reference models, or
    where theirs is 0. ``compat`` takes 0.5 for r where there are none, and adds 1e-10 to the divisor.
    """

    def unrecognized(model: ModelScores) -> float:
        attack_N = min_k(model["forget"], settings.share(compat), compat)
        return 1 - membership_auc(attack_N, min_k(model[settings.nonmembers], settings.share(compat), compat))

    own = unrecognized(scores.model)
    known = [unrecognized(reference) for reference in scores.references]
    expected = float(np.mean(known)) if known else None
    if compat is not None:
        expected = _NO_REFERENCE_AUC if expected is None else expected
        return {"privleak": 100 * (own - expected) / (expected + _EPSILON)}
    return {"privleak": 100 * (own - expected) / expected if expected else None}


def compressed_bytes(own: SetScores) -> Array:
    """Return the bytes of each target text, compressed by zlib at its default level, [N]."""
    assert own.texts is not None
    return np.array([len(zlib.compress(text.encode())) for text in own.texts], dtype=np.float64)


def min_k(own: SetScores, k: float, compat: Compat | None) -> Array:
    """Return the mean NLL of the share ``k`` of each example's tokens that are least likely, [N] nats per token."""
    own = own.without_last_target() if compat else own
    assert own.logp_M is not None
    return _lowest(own, own.logp_M, k, compat)


def _lowest(own: SetScores, values_M: Array, k: float, compat: Compat | None) -> Array:
    """Return minus the mean of the lowest share ``k`` of each example's values, at least of one, [N].

    ``compat`` cuts the float product off, so that 0.29 of 100 tokens are 28. An example without tokens has 0.
    """
    means = []
    for values_T in own.by_example(values_M):
        count = max(1, int(k * len(values_T)) if compat else math.floor(round(k * len(values_T), 9)))
        means.append(-np.partition(values_T, count - 1)[:count].mean() if len(values_T) else 0.0)
    return np.array(means)


def _attacked(name: str, scores: Scores, settings: AttackSettings, attack: Attack) -> Values:
    return _told_apart(name, attack(scores.model["forget"]), attack(scores.model[settings.nonmembers]), settings)


def _untold(name: str, scores: Scores) -> Values:
    """Return the values of an attack that cannot be made."""
    return {f"{name}_auc": None, f"{name}_tpr": None, f"{name}_N": np.full(len(scores.model["forget"]), np.nan)}


def _told_apart(name: str, member_N: Array, nonmember_P: Array, settings: AttackSettings) -> Values:
    return {
        f"{name}_auc": membership_auc(member_N, nonmember_P),
        f"{name}_tpr": true_positive_rate(member_N, nonmember_P, settings.false_positives),
        f"{name}_N": member_N,
    }


def true_positive_rate(member_N: Array, nonmember_P: Array, false_positives: float) -> float:
    """Return the largest share of members below a threshold that at most a share of the others are below.

    Args:
        member_N: scores of members, low where they are recognized.
        nonmember_P: scores of the others.
        false_positives: the share of the others.
    """
    allowed = math.floor(round(false_positives * len(nonmember_P), 9))
    return float((member_N < np.sort(nonmember_P)[allowed]).mean())
