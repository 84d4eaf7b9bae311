"""The tail of exposure: the most exposed examples, where a mean tells only of all. Shape legend: N forget examples."""

import math

import numpy as np

from trainables.config import Compat
from trainables.metrics.exposure import generalized_exposure, relative_exposure
from trainables.metrics.metric import Values
from trainables.metrics.scores import Scores
from trainables.metrics.shipped.settings import ExposureTailSettings


def exposure_tail(scores: Scores, settings: ExposureTailSettings, compat: Compat | None) -> Values:
    """Return the largest and the 95th percentile of generalized and relative exposure, and the share above a bound.

    Percentiles are interpolated linearly. Generalized exposure is None without reference models, and the share of a
    relative exposure where no example of so small a population can be above the bound: it ends at log2 of its size.
    """
    forget, population = scores.model["forget"], scores.model["population"]
    rel_ex_N = relative_exposure(forget.nll_per_token_N, population.nll_per_token_N)
    values: dict[str, float | None] = {
        "rel_ex_max": float(rel_ex_N.max()),
        "rel_ex_p95": float(np.quantile(rel_ex_N, 0.95)),
        "rel_ex_exposed_share": (
            float((rel_ex_N > settings.relative_threshold).mean())
            if math.log2(len(population)) > settings.relative_threshold
            else None
        ),
    }
    if not scores.references:
        return values | dict.fromkeys(("gen_ex_max", "gen_ex_p95", "exposed_share"))
    reference_logp_SN = np.array([reference["forget"].logp_N for reference in scores.references])
    gen_ex_N = generalized_exposure(forget.logp_N[np.newaxis], reference_logp_SN)
    return values | {
        "gen_ex_max": float(gen_ex_N.max()),
        "gen_ex_p95": float(np.quantile(gen_ex_N, 0.95)),
        "exposed_share": float((gen_ex_N > settings.threshold).mean()),
    }
