"""What is known of each forget example before unlearning: memorization and difficulty, in nats per token."""

import numpy as np

from trainables.metrics.exposure import Array, Counts, log_mean_likelihood


def memorization(base_logp_N: Array, reference_logp_SN: Array, num_targets_N: Counts) -> Array:
    """``mem(x) = [logp_base(x) - log mean_R p(x)] / T``: counterfactual (Zhang et al. 2021, arXiv 2112.12938)."""
    return np.asarray((base_logp_N - log_mean_likelihood(reference_logp_SN)) / num_targets_N)


def difficulty(reference_logp_SN: Array, num_targets_N: Counts) -> Array:
    """``-log mean_R p(x) / T``: how unlikely an example is to models that never saw it."""
    return np.asarray(-log_mean_likelihood(reference_logp_SN) / num_targets_N)
