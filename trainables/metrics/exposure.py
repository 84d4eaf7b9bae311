"""Generalized and relative exposure, and loss-threshold membership: how much of an example still shows.

Shape legend: N examples, P population, S models of different seeds. Likelihoods are natural logs, exposures bits.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from scipy.stats import rankdata, skewnorm

_STEEPEST = 1e3
"""Largest skew-normal shape: beyond it the density is a half-normal to every digit that matters."""

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.signedinteger]


def log_mean_likelihood(logp_SN: Array) -> Array:
    """log mean_s p_s(x) by log-sum-exp in float64: [S, N] nats to [N] nats."""
    logp_SN = np.asarray(logp_SN, dtype=np.float64)
    return np.asarray(logsumexp(logp_SN, axis=0) - np.log(len(logp_SN)))


def generalized_exposure(unlearned_logp_SN: Array, reference_logp_SN: Array) -> Array:
    """``gen_ex(x) = log2 mean_U p(x) - log2 mean_R p(x)``, [N] bits (Baluta et al. 2024, arXiv 2411.04388).

    0: as if never trained; above: still exposed; below: over-unlearned.
    """
    return np.asarray((log_mean_likelihood(unlearned_logp_SN) - log_mean_likelihood(reference_logp_SN)) / np.log(2))


def relative_exposure(nll_per_token_N: Array, population_nll_per_token_P: Array) -> Array:
    """``rel_ex(x) = log2 |P| - log2 rank(x; P)``, [N] bits (Carlini et al. 2019, arXiv 1802.08232, section 4).

    Rank 1 is the most likely; x is ranked within P and itself, and ties share the mean rank.
    """
    population_P = np.sort(population_nll_per_token_P)
    below_N = np.searchsorted(population_P, nll_per_token_N, side="left")
    tied_N = np.searchsorted(population_P, nll_per_token_N, side="right") - below_N
    rank_N = 1 + below_N + tied_N / 2
    return np.asarray(np.log2(len(population_P)) - np.log2(rank_N))


def relative_exposure_skew_normal(nll_per_token_N: Array, population_nll_per_token_P: Array) -> Array:
    """``-log2 F(nll(x))``, F a skew-normal fitted to the population by moments, [N] bits.

    Unlike the rank it goes on beyond the population's best example (Carlini et al. 2019, arXiv 1802.08232,
    section 4.3, "extrapolation"). A population without spread has no fit: 0 bits above it, infinity is never given:
    the result is capped at 1074 bits, where float64 likelihoods end.
    """
    population_P = np.asarray(population_nll_per_token_P, dtype=np.float64)
    if np.ptp(population_P) < 1e-12 * max(1.0, float(np.abs(population_P).max())):
        return np.where(np.asarray(nll_per_token_N) < population_P[0], 1074.0, 0.0)
    shape, location, scale = skewnorm.fit(population_P, method="MM")
    shape = np.clip(shape, -_STEEPEST, _STEEPEST)  # infinite for a population more skewed than any skew-normal
    bits_N = -skewnorm.logcdf(nll_per_token_N, shape, location, scale) / np.log(2)
    return np.asarray(np.clip(np.nan_to_num(bits_N, nan=1074.0, posinf=1074.0), 0.0, 1074.0))


def membership_auc(forget_nll_per_token_N: Array, population_nll_per_token_P: Array) -> float:
    """Area under the ROC curve of "low loss means member" (Yeom et al. 2018, arXiv 1709.01604).

    The probability that a forget example has a lower loss than one of the population (ties count half);
    0.5 is chance. Computed as the Mann-Whitney statistic.
    """
    n, p = len(forget_nll_per_token_N), len(population_nll_per_token_P)
    ranks = rankdata(np.concatenate([forget_nll_per_token_N, population_nll_per_token_P]))
    wins = n * p + n * (n + 1) / 2 - ranks[:n].sum()
    return float(wins / (n * p))
