"""Generalized and relative exposure, and loss-threshold membership: how much of an example a model still shows.

Shape legend: N examples, P population, S models of different seeds. Likelihoods are natural logs, exposures bits.
"""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import rankdata, skewnorm

from trainables.metrics.scores import Array

_STEEPEST = 1e3
"""Largest shape of a skew-normal: beyond it the density is a half-normal to every digit that matters."""
_MOST_BITS = 1074.0
"""Cap of the extrapolated exposure: -log2 of the smallest float64 above 0."""


def log_mean_likelihood(logp_SN: Array) -> Array:
    """Return log mean_s p_s(x), [N] nats from [S, N] nats, by log-sum-exp in float64."""
    logp_SN = np.asarray(logp_SN, dtype=np.float64)
    return np.asarray(logsumexp(logp_SN, axis=0) - np.log(len(logp_SN)))


def generalized_exposure(unlearned_logp_SN: Array, reference_logp_SN: Array) -> Array:
    """Return the generalized exposure of each example, [N] bits.

    ``gen_ex(x) = log2 mean_U p(x) - log2 mean_R p(x)`` with U the unlearned and R the reference models (Baluta et al.
    2024, arXiv 2411.04388). 0: as if never trained; above: still exposed; below: over-unlearned.
    """
    return np.asarray((log_mean_likelihood(unlearned_logp_SN) - log_mean_likelihood(reference_logp_SN)) / np.log(2))


def relative_exposure(nll_per_token_N: Array, population_nll_per_token_P: Array) -> Array:
    """Return the relative exposure of each example, [N] bits.

    ``rel_ex(x) = log2 |P| - log2 rank(x; P)`` with P the population (Carlini et al. 2019, arXiv 1802.08232, section 4).
    Rank 1 is the most likely; x is ranked among P and itself, and ties share the mean rank.
    """
    population_P = np.sort(population_nll_per_token_P)
    below_N = np.searchsorted(population_P, nll_per_token_N, side="left")
    tied_N = np.searchsorted(population_P, nll_per_token_N, side="right") - below_N
    rank_N = 1 + below_N + tied_N / 2
    return np.asarray(np.log2(len(population_P)) - np.log2(rank_N))


def relative_exposure_skew_normal(nll_per_token_N: Array, population_nll_per_token_P: Array) -> Array:
    """Return the extrapolated relative exposure of each example, [N] bits.

    ``-log2 F(nll(x))`` with F a skew-normal fitted to the population by moments. Unlike the rank it goes on beyond the
    population's best example (Carlini et al. 2019, arXiv 1802.08232, section 4.3, "extrapolation"). The result is at
    most 1074 bits. A population without spread has no fit: an example below it has 1074 bits, any other 0.
    """
    population_P = np.asarray(population_nll_per_token_P, dtype=np.float64)
    if np.ptp(population_P) < 1e-12 * max(1.0, float(np.abs(population_P).max())):
        return np.where(np.asarray(nll_per_token_N) < population_P[0], _MOST_BITS, 0.0)
    shape, location, scale = skewnorm.fit(population_P, method="MM")
    shape = np.clip(shape, -_STEEPEST, _STEEPEST)  # infinite for a population more skewed than any skew-normal
    bits_N = -skewnorm.logcdf(nll_per_token_N, shape, location, scale) / np.log(2)
    return np.asarray(np.clip(np.nan_to_num(bits_N, nan=_MOST_BITS, posinf=_MOST_BITS), 0.0, _MOST_BITS))


def membership_auc(forget_nll_per_token_N: Array, population_nll_per_token_P: Array) -> float:
    """Return the area under the ROC curve of "low loss means member" (Yeom et al. 2018, arXiv 1709.01604).

    It is the probability that a forget example has a lower loss than one of the population (ties count half), computed
    as the Mann-Whitney statistic. 0.5 is chance.
    """
    n, p = len(forget_nll_per_token_N), len(population_nll_per_token_P)
    ranks = rankdata(np.concatenate([forget_nll_per_token_N, population_nll_per_token_P]))
    wins = n * p + n * (n + 1) / 2 - ranks[:n].sum()
    return float(wins / (n * p))
