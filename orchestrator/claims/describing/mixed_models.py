"""Steps until an example is as never trained against what it was before unlearning, by a linear mixed model.

Replicates are groups with an intercept and a slope of their own (Laird & Ware 1982), so that the examples of a
replicate do not count as independent. Steps are base-2 logarithms, and all is centred within forget set and setting.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.claims.describing.optional_libraries import optional_library, silenced
from orchestrator.claims.examples import TrialExamples
from orchestrator.claims.intervals import LEAST_REPLICATES
from orchestrator.claims.observations import LEAST_STEPS
from orchestrator.pareto import Numbers

TRAITS = ("memorization", "difficulty")


@dataclass(frozen=True, kw_only=True)
class MixedModel:
    """The slope on one trait of examples."""

    trait: str
    factor: float
    """Times as many steps for each nat/token more."""
    low: float
    high: float
    """Ends of the Wald interval, 95 %."""
    p: float
    examples: int
    """Examples of all trials together."""
    censored: int
    """Of these, how many were not as never trained; their time counts as the end of their trial."""
    replicates: int
    converged: bool
    """Whether the fit converged, with a curvature that tells its errors; else its interval is not to be trusted."""


def mixed_models(examples: Sequence[TrialExamples], measure: str) -> list[MixedModel]:
    """Return the slopes on memorization and on difficulty, each alone; empty with too few replicates.

    Raises:
        MissingLibraryError: the extra is not installed.
    """
    library = optional_library("statsmodels.regression.mixed_linear_model")
    own = [one for one in examples if measure in one.exposures and one.trajectory.followed_until > 0]
    found = []
    for trait in TRAITS:
        steps_N, trait_N, group_N, censored = _rows(own, measure, trait)
        groups = len(np.unique(group_N))
        if groups < LEAST_REPLICATES or not np.ptp(trait_N):
            continue
        design_N2 = np.column_stack([np.ones(len(trait_N)), trait_N])
        with silenced() as caught:
            fitted = library.MixedLM(steps_N, design_N2, groups=group_N, exog_re=design_N2).fit(
                reml=True,
                method="powell",  # the default's gradients end early where a variance is almost 0
            )
        slope, (low, high) = float(fitted.fe_params[1]), fitted.conf_int()[1]
        known = all(math.isfinite(value) for value in (slope, low, high))
        found.append(
            MixedModel(
                trait=trait,
                factor=2.0**slope,
                low=2.0**low if known else math.nan,
                high=2.0**high if known else math.nan,
                p=float(fitted.pvalues[1]),
                examples=len(trait_N),
                censored=censored,
                replicates=groups,
                converged=bool(fitted.converged) and not any("Hessian" in str(own.message) for own in caught),
            )
        )
    return found


def _rows(examples: Sequence[TrialExamples], measure: str, trait: str) -> tuple[Numbers, Numbers, Numbers, int]:
    """Return logarithms of steps, the trait and the number of the replicate of every example, and how many censored."""
    replicates = sorted({own.trajectory.replicate for own in examples})
    strata = sorted({(own.trajectory.forget_set, own.trajectory.setting_id) for own in examples})
    columns: list[Numbers] = []
    censored = 0
    for own in examples:
        times_N, end = own.times(measure), own.trajectory.followed_until
        known_N = np.isfinite(own.traits[trait])
        censored += int((times_N[known_N] > end).sum())
        steps_N = np.log2(np.clip(times_N, LEAST_STEPS, max(end, LEAST_STEPS)))
        stratum = strata.index((own.trajectory.forget_set, own.trajectory.setting_id))
        place_N2 = np.tile([stratum, replicates.index(own.trajectory.replicate)], (len(times_N), 1))
        columns.append(np.column_stack([steps_N, own.traits[trait], place_N2])[known_N])
    rows_N4 = np.vstack(columns) if columns else np.empty((0, 4))
    for stratum in range(len(strata)):
        inside_N = rows_N4[:, 2] == stratum
        if inside_N.any():
            rows_N4[inside_N, :2] -= rows_N4[inside_N, :2].mean(axis=0)
    return rows_N4[:, 0], rows_N4[:, 1], rows_N4[:, 3], censored
