"""From observations to one number a replicate: the mean over its settings, of which every replicate has the same."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.claims.findings import Finding
from orchestrator.claims.intervals import Estimate, estimate
from orchestrator.claims.observations import Observation, Unreached
from orchestrator.claims.trajectories import Replicate

Cell = tuple[str, str]
"""Forget set or sets, and setting: what is averaged over seeds first, and must be there in every replicate."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A finding's effect over replicates, before any verdict. Ratios are base-2 logarithms here."""

    finding: Finding
    measure: str
    values: Mapping[Replicate, float]
    """By replicate, in a fixed order."""
    estimate: Estimate
    half: Estimate
    """The same if the axis ended at half of its steps."""
    sets: Sequence[str]
    contrasts: int
    """Observations that it is a mean of."""
    sides: Mapping[str, float]
    """Mean over these of what they are made of, by side."""
    unreached: Mapping[str, tuple[int, int]]
    """By side, how many trials (or examples in trials) were not as never trained within the axis, and of how many."""
    unreached_throughout: float
    """Share of the contrasts in which no side was as never trained within the axis."""
    untold: int
    """Trials that tell nothing, since all of their examples are censored: they are in no mean."""
    settings: int
    """Settings that it is a mean over."""
    left_out: int
    """Settings of forget sets that not every replicate has, and that are left out."""


def effect_of(finding: Finding, measure: str, observations: Sequence[Observation]) -> Effect | None:
    """Return the effect that observations show; None: there are none that tell anything.

    A replicate's number is the mean over forget sets and settings (of slopes the median) of the mean over seeds.
    Settings that not every replicate has are left out, so that replicates differ by what was drawn and not by what was
    run; where none is shared by all, each replicate keeps its own.
    """
    if not any(math.isfinite(own.value) for own in observations):
        return None
    cells: dict[Replicate, dict[Cell, list[Observation]]] = {}
    for own in observations:
        cells.setdefault(own.replicate, {}).setdefault((own.sets, own.setting_id), []).append(own)
    every = set().union(*cells.values())
    shared = every.intersection(*cells.values()) or every
    kept = [own for own in observations if (own.sets, own.setting_id) in shared]
    by_replicate = {
        name: {cell: told for cell, group in cells[name].items() if cell in shared and (told := _telling(group))}
        for name in sorted(cells)
    }
    by_replicate = {name: own for name, own in by_replicate.items() if own}
    over = np.median if finding.is_median else np.mean
    values = {name: _over(over, own, lambda one: one.value) for name, own in by_replicate.items()}
    sides = sorted({side for own in kept for side in own.sides})
    return Effect(
        finding=finding,
        measure=measure,
        values=values,
        estimate=estimate(list(values.values())),
        half=estimate([_over(over, own, lambda one: one.reached_half) for own in by_replicate.values()]),
        sets=sorted({own.sets for own in kept}),
        contrasts=len(_telling(kept)),
        sides={side: float(np.mean(sorted(own.sides[side] for own in kept))) for side in sides},
        unreached=_unreached(kept),
        unreached_throughout=float(np.mean([_reached_by_none(own) for own in kept])),
        untold=len(kept) - len(_telling(kept)),
        settings=len({setting for _, setting in shared}),
        left_out=len(every) - len(shared),
    )


def _over(
    over: Callable[[Sequence[float]], Any],
    cells: Mapping[Cell, Sequence[Observation]],
    of: Callable[[Observation], float],
) -> float:
    """Return the mean or median over cells of the mean over the observations of a cell, whatever their order."""
    means = [float(np.mean(sorted(of(own) for own in group))) for group in cells.values()]
    return float(over(sorted(means)))


def _telling(observations: Sequence[Observation]) -> list[Observation]:
    return [own for own in observations if math.isfinite(own.value)]


def _unreached(observations: Sequence[Observation]) -> dict[str, tuple[int, int]]:
    """Return how many were censored on each side, and of how many, each trial once in however many contrasts it is."""
    found: dict[str, set[Unreached]] = {}
    for own in observations:
        for side, one in own.unreached.items():
            found.setdefault(side, set()).add(one)
    return {side: (sum(one.censored for one in own), sum(one.of for one in own)) for side, own in sorted(found.items())}


def _reached_by_none(own: Observation) -> bool:
    return bool(own.unreached) and all(one.censored == one.of for one in own.unreached.values())
