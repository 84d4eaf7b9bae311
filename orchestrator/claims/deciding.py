"""Verdicts: which findings the effects support, contradict or leave open, all together and under each condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.claims.effects import Effect, effect_of
from orchestrator.claims.findings import Finding
from orchestrator.claims.intervals import LEAST_REPLICATES, LEVEL, holm, replicates_needed
from orchestrator.claims.observations import Observation
from orchestrator.claims.trajectories import BUCKET
from trainables.config import THIRDS

Observed = Mapping[tuple[str, str], Sequence[Observation]]
"""Observations by the name of a finding and a measure of exposure."""
EXPOSURE, SETS, MODEL = "exposure", "forget sets", "model"
DIMENSIONS = ("optimizer", "batch size", EXPOSURE, SETS, "canary", "repetitions", MODEL, BUCKET)
"""Conditions under which findings are judged again, in the order of their table."""
MOST_UNREACHED = 0.5
"""Share of contrasts, or of one side's trials, that is censored and from which on the end of the axis may decide."""


class Verdict(StrEnum):
    """What a user's sweeps say of a finding."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_DECIDED = "not decided"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A finding with its effect and verdict."""

    effect: Effect
    condition: tuple[str, str] | None
    """Dimension and level; None: all together."""
    corrected_p: float | None
    verdict: Verdict
    reason: str
    """Why nothing is decided; empty: something is."""
    brief: str
    """The same in a word or two."""
    more_replicates: int | None
    """How many more would decide an effect of this size; the least possible number where its spread is not known yet;
    None: something is decided, or no number would do."""

    @property
    def finding(self) -> Finding:
        """The finding."""
        return self.effect.finding

    @property
    def mean(self) -> float:
        """The effect as it is shown."""
        return self.finding.shown(self.effect.estimate.mean)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval as it is shown; None: there is none."""
        found = self.effect.estimate
        if found.low is None or found.high is None:
            return None
        return self.finding.shown(found.low), self.finding.shown(found.high)

    def as_json(self) -> dict[str, Any]:
        """Return everything about the decision as plain data, in the units that are shown."""
        finding, effect, interval = self.finding, self.effect, self.interval
        return {
            "finding": finding.name,
            "letter": finding.letter,
            "sentence": finding.sentence,
            "claim": finding.claim,
            "estimand": finding.estimand,
            "unit": finding.unit,
            "null": finding.null,
            "supported_by": f"an effect {'above' if finding.direction == 'above' else 'on either side of'} the null",
            "cost": finding.kind,
            "condition": None if self.condition is None else dict(zip(("of", "is"), self.condition, strict=True)),
            "measure": effect.measure,
            "forget_sets": list(effect.sets),
            "effect": self.mean,
            "low": None if interval is None else interval[0],
            "high": None if interval is None else interval[1],
            "level": LEVEL,
            "p": effect.estimate.p,
            "corrected_p": self.corrected_p,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "replicates": effect.estimate.replicates,
            "more_replicates": self.more_replicates,
            "by_replicate": [finding.shown(value) for value in effect.values.values()],
            "contrasts": effect.contrasts,
            "settings": effect.settings,
            "settings_left_out": effect.left_out,
            "trials_that_tell_nothing": effect.untold,
            "sides": dict(effect.sides),
            "censored": {side: {"censored": n, "of": of} for side, (n, of) in effect.unreached.items()},
        }


def decide(findings: Sequence[Finding], measure: str, observed: Observed) -> list[Decision]:
    """Return a verdict for each finding that was observed, corrected for as many looks as there are."""
    effects = [(None, effect_of(finding, measure, observed[finding.name, measure])) for finding in findings]
    return _judged([(condition, effect) for condition, effect in effects if effect is not None])


def decide_by_condition(
    findings: Sequence[Finding],
    measure: str,
    observed: Observed,
    measures: Sequence[str],
    *,
    of_buckets: Observed | None = None,
) -> list[Decision]:
    """Return a verdict for each finding under each condition. They are looks of a family of their own.

    Which third of a forget set is unlearned is a condition that whole sets do not have: it is judged on the
    observations ``of_buckets``, and all others on those of whole sets.

    A dimension that divides the observations as one before it does, such as the kind of canary where each forget set
    has its own, is left out.
    """
    effects: list[tuple[tuple[str, str] | None, Effect | None]] = []
    for finding in findings:
        own = observed[finding.name, measure]
        divided: dict[str, Mapping[str, Sequence[Observation]]] = {}
        if finding.in_conditions:
            divided = {name: _groups(own, name) for name in DIMENSIONS if name != BUCKET}
            divided[BUCKET] = _groups((of_buckets or {}).get((finding.name, measure), ()), BUCKET)
        if EXPOSURE in divided and finding.by_exposure:
            divided[EXPOSURE] = {name: observed[finding.name, name] for name in measures}
        divisions: set[frozenset[frozenset[int]]] = set()
        for dimension, groups in divided.items():
            division = frozenset(frozenset(map(id, group)) for group in groups.values())
            if len([group for group in groups.values() if group]) > 1 and division not in divisions:
                divisions.add(division)
                effects += [
                    ((dimension, level), effect_of(finding, level if dimension == EXPOSURE else measure, groups[level]))
                    for level in sorted(groups, key=_natural)
                ]
    return _judged([(condition, effect) for condition, effect in effects if effect is not None])


def _judged(effects: Sequence[tuple[tuple[str, str] | None, Effect]]) -> list[Decision]:
    single = [effect.estimate.p for _, effect in effects]
    corrected, known = holm(single), [p for p in single if p is not None]
    return [
        _decision(effect, condition, both, looks=0 if p is None else sum(p <= other for other in known))
        for (condition, effect), p, both in zip(effects, single, corrected, strict=True)
    ]


def _decision(effect: Effect, condition: tuple[str, str] | None, p: float | None, *, looks: int) -> Decision:
    """Return the verdict on an effect.

    Args:
        effect: the effect.
        condition: that it was observed under.
        p: its p value, corrected for all looks.
        looks: looks that the correction counts for it: those of p values that are not smaller (Holm).
    """
    verdict, reason, brief, more = Verdict.NOT_DECIDED, "", "", None
    found = effect.estimate
    if found.replicates < LEAST_REPLICATES:
        more = LEAST_REPLICATES - found.replicates
        reason = f"fewer than {LEAST_REPLICATES} replicates: at least {more} more"
        brief = "few replicates"
    elif effect.unreached_throughout > MOST_UNREACHED:
        reason = "more than half of the contrasts end before anything is as never trained: a longer axis would decide"
        brief = "censored"
    elif found.agree:
        reason = "the replicates give the same number but for rounding, as one does that is run several times"
        brief = "replicates alike"
    else:
        assert found.low is not None and found.high is not None and p is not None
        inside = found.low <= 0 <= found.high
        if inside or p > 1 - LEVEL:
            needed = replicates_needed(list(effect.values.values()), looks)
            more = None if needed is None else needed - found.replicates
            chance = "the interval includes 'no effect'" if inside else f"too uncertain for one of {looks} looks"
            reason = f"{chance}; {_more_text(more)}"
            brief = "uncertain"
        elif _turns_by_half(effect):
            reason = "it turns where the axis ends at half of its steps"
            brief = "turns with the axis"
        elif found.mean > 0 or effect.finding.direction == "either":
            verdict = Verdict.SUPPORTED
        else:
            verdict = Verdict.CONTRADICTED
    return Decision(
        effect=effect,
        condition=condition,
        corrected_p=p,
        verdict=verdict,
        reason=reason,
        brief=brief,
        more_replicates=more,
    )


def _more_text(more: int | None) -> str:
    if more is None:
        return "no number of replicates that could be run would decide an effect of this size"
    return f"about {more} more replicate{'s' * (more > 1)} would decide an effect of this size, four times of five"


def _turns_by_half(effect: Effect) -> bool:
    """Return whether most of one side is censored, and the effect is on the other side, beyond its interval, where the
    axis ends at half."""
    half = effect.half
    if max((missing / there for missing, there in effect.unreached.values() if there), default=0.0) <= MOST_UNREACHED:
        return False  # the axis is long enough to be no part of the effect
    if half.low is None or half.high is None or half.mean * effect.estimate.mean >= 0:
        return False
    return not half.low <= 0 <= half.high


def _groups(observations: Sequence[Observation], dimension: str) -> dict[str, list[Observation]]:
    found: dict[str, list[Observation]] = {}
    if dimension != EXPOSURE:
        for own in observations:
            level = own.sets if dimension == SETS else own.labels[dimension]
            found.setdefault(level or "none", []).append(own)
    return found


def _natural(level: str) -> tuple[float, str]:
    """Return a sort key that orders numbers as numbers, before words, and thirds from low to high."""
    name, _, third = level.rpartition(" ")
    if third in THIRDS:
        return float("inf"), f"{name} {THIRDS.index(third)}"
    return (float(level), "") if level.isdigit() else (float("inf"), level)
