"""One trial as the claims see it: exposure and losses along its steps, and where it first gets how far.

Shapes: S evaluated steps (the base model's step 0 first), G shares of the exposure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.pareto import Numbers

BUCKET = "bucket"
"""Dimension of the trials that unlearn a third of a forget set. Those of whole sets have no such condition."""


class Replicate(NamedTuple):
    """A replicate: everything in it was drawn anew."""

    draws: str
    """Of the seeds and models that it was drawn with, equal for sweeps that repeat each other."""
    number: int
    """Its number in its sweep."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """The evaluations of one trial that were completed, with what they are grouped by."""

    trial_id: str
    sweep: str
    replicate: Replicate
    forget_set: str
    distribution: str
    seed: int
    setting_id: str
    settings: str
    labels: Mapping[str, str]
    """Conditions of the trial by dimension: optimizer, batch size, model; of a bucket, which third it is."""
    steps_S: Numbers
    """From 0."""
    exposures: Mapping[str, Numbers]
    """Mean exposure in bits by measure (S,); NaN: not measured."""
    levels: Mapping[str, float]
    """Mean exposure, by measure, of a model that never saw the forget set."""
    losses: Mapping[str, Numbers]
    """Increase of each kind of cost over the base model's (S,), nats/token; NaN: not measured."""
    decay_steps_S: Numbers
    """The same steps, and the one at which it collapsed."""
    decay_S: Numbers
    """Increase of held-out loss at these, nats/token, no larger than the performance floor."""
    followed_until: float
    """Steps up to which it is known whether it got somewhere. A trial that collapsed or diverged gets nowhere any more,
    so it is known to the end of the axis."""

    @property
    def of_bucket(self) -> bool:
        """Whether it unlearned a bucket and no whole forget set."""
        return BUCKET in self.labels

    def removed(self, measure: str) -> tuple[Numbers, Numbers]:
        """Return the steps at which a measure is known, and the share of the exposure that is removed there.

        The share is 0 at the base model's exposure and 1 at the level of a model that never saw the forget set. A set
        that is not above that level to begin with has nothing to remove: its share is infinite from the start.
        """
        exposure_S = self.exposures[measure]
        known_S = np.isfinite(exposure_S)
        start = exposure_S[0]
        above = start - self.levels[measure]
        if not known_S[0]:
            return self.steps_S[:0], exposure_S[:0]
        share_S = (start - exposure_S[known_S]) / above if above > 0 else np.full(int(known_S.sum()), math.inf)
        return self.steps_S[known_S], share_S

    def time(self, measure: str) -> float:
        """Return the steps until mean exposure is first as never trained, interpolated; infinity: never."""
        steps_S, share_S = self.removed(measure)
        return float(passages(share_S, steps_S, np.ones(1))[0])

    def farthest(self, measure: str, horizon: float) -> float:
        """Return the largest share of the exposure that is removed within some steps, at most 1."""
        steps_S, share_S = self.removed(measure)
        return float(min(share_S[steps_S <= horizon].max(initial=0.0), 1.0))

    def losses_at(self, measure: str, kind: str, share_G: Numbers) -> Numbers:
        """Return the loss of one kind where each share of the exposure is first removed; NaN: never, or not known."""
        known_S = np.isfinite(self.exposures[measure])
        _, share_S = self.removed(measure)
        found_G = passages(share_S, self.losses[kind][known_S][: len(share_S)], share_G)
        return np.where(np.isfinite(found_G), found_G, np.nan)


def passages(share_S: Numbers, values_S: Numbers, share_G: Numbers) -> Numbers:
    """Return a quantity along a path where it first reaches each share, interpolated linearly; infinity: never.

    It is the first passage that ``frontier`` reads prices at, for any share.
    """
    if not len(share_S):
        return np.full(len(share_G), np.inf)
    reached_GS = share_S >= share_G[:, None]
    first_G = reached_GS.argmax(axis=1)
    before_G = np.maximum(first_G - 1, 0)
    width_G = share_S[first_G] - share_S[before_G] if np.isfinite(share_S[0]) else np.zeros(len(share_G))
    part_G = np.divide(share_G - share_S[before_G], width_G, out=np.ones(len(share_G)), where=width_G > 0)
    found_G = values_S[before_G] + part_G * (values_S[first_G] - values_S[before_G])
    return np.where(reached_GS.any(axis=1), found_G, np.inf)


def slope(steps_S: Numbers, loss_S: Numbers) -> float | None:
    """Return the least-squares slope of finite losses against steps; None: there are fewer than two of them."""
    known_S = np.isfinite(loss_S)
    if known_S.sum() < 2:
        return None
    step_K = steps_S[known_S] - steps_S[known_S].mean()
    return float(step_K @ loss_S[known_S] / (step_K @ step_K))
