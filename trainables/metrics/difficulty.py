"""Memorization and difficulty of each forget example before unlearning, in nats per token.

Shape legend: N examples, S reference models of different seeds.
"""

import numpy as np

from trainables.config import THIRDS
from trainables.metrics.exposure import log_mean_likelihood
from trainables.metrics.scores import Array, Counts


def memorization(base_logp_N: Array, reference_logp_SN: Array, num_targets_N: Counts) -> Array:
    """Return the counterfactual memorization of each example, [N] nats per token.

    ``mem(x) = [logp_base(x) - log mean_R p(x)] / T`` (Zhang et al. 2021, arXiv 2112.12938).
    """
    return np.asarray((base_logp_N - log_mean_likelihood(reference_logp_SN)) / num_targets_N)


def difficulty(reference_logp_SN: Array, num_targets_N: Counts) -> Array:
    """Return ``-log mean_R p(x) / T``, [N] nats per token: how unlikely examples are to models that never saw them."""
    return np.asarray(-log_mean_likelihood(reference_logp_SN) / num_targets_N)


def thirds(trait_N: Array) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the examples of each third by a trait, the lowest first, within a third in their order.

    The thirds are of equal size to one example, a larger one before a smaller. Ties are broken by the order of the
    examples.
    """
    ranked_N = np.argsort(trait_N, kind="stable")
    return tuple(tuple(sorted(part.tolist())) for part in np.array_split(ranked_N, len(THIRDS)))
