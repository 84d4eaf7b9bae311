"""What the claims say, in rows and sentences. The terminal's tables and the report only format it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.claims.computing import Claims
from orchestrator.claims.deciding import Decision, Verdict
from orchestrator.claims.describing.agreement import QUANTITIES
from orchestrator.claims.describing.matching import MEASURE_NAMES
from orchestrator.claims.findings import KIND_NAMES
from orchestrator.claims.intervals import LEAST_REPLICATES, LEVEL, Estimate

Item = TypeVar("Item")
Key = TypeVar("Key")

HEADS = ("", "finding", "effect", f"{LEVEL:.0%} interval", "p", "verdict")
"""Columns of the table of verdicts."""
UNITS = (
    "effects: a: out's steps divided by in's; b: nats/token that in loses more than out; c: nats/token a step, and the "
    "difference of slopes by their sum; d: rank correlation with steps. in, out: in- and out-of-distribution sets, at "
    "the same settings"
)
ALWAYS_SHOWN = ("before", "after")
"""Quantities of agreement that are shown even where no set has them, which says something, too."""
MUCH_CENSORED = 0.5
"""Share of trials that are not as never trained from which on a note says what that does to the effect."""


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table of text."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def title_of(claims: Claims) -> str:
    """Return what was judged."""
    measure = f"; exposure by {MEASURE_NAMES[claims.measure]}" if claims.measure else ""
    return (
        f"the paper's findings on {', '.join(claims.sweeps)}: {_many(len(claims.replicates), 'replicate')}, "
        f"{_many(claims.settings, 'setting')}, {claims.last_step} steps{measure}"
    )


def verdict_table(claims: Claims) -> TextTable:
    """Return a row for each finding that was measured."""
    return TextTable(title=title_of(claims), heads=HEADS, rows=[_row(own) for own in claims.decisions])


def condition_tables(claims: Claims) -> list[TextTable]:
    """Return a table for each dimension of conditions; none without enough replicates to decide anything."""
    if len(claims.replicates) < LEAST_REPLICATES:
        return []
    found: dict[str, list[Sequence[str]]] = {}
    last: dict[str, str] = {}
    for own in claims.conditions:
        assert own.condition is not None
        dimension, level = own.condition
        letter, claim, *cells = _row(own)
        rows = found.setdefault(dimension, [])
        if own.finding.name != last.get(dimension):
            rows.append([letter, claim, *("" for _ in cells)])
        last[dimension] = own.finding.name
        rows.append(["", f"  {MEASURE_NAMES.get(level, level)}", *cells])
    return [TextTable(title=f"by {dimension}", heads=HEADS, rows=rows) for dimension, rows in found.items()]


def verdict_notes(claims: Claims) -> list[str]:
    """Return what the verdicts rest on, what was not matched, and why nothing is decided where nothing is."""
    looks = len([own for own in claims.decisions if own.corrected_p is not None])
    lines = [UNITS]
    if looks:
        lines.append(
            f"interval: studentized bootstrap over replicates (with fewer than 5: Student's); p: corrected for the "
            f"{looks} looks of this table (Holm); a verdict needs an interval without 'no effect', and p of at most "
            f"{1 - LEVEL:.2f}"
        )
    lines += _sides(claims)
    lines += _pooled(claims)
    lines += _unmatched(claims)
    lines += _censored(claims)
    lines += [
        f"{_names(group, claims.decisions)}: not decided: {reason}"
        for reason, group in _grouped([own for own in claims.decisions if own.reason], lambda own: own.reason)
    ]
    lines += [
        f"{', '.join(finding.claim for finding, _ in group)}: no effect: {reason}"
        for reason, group in _grouped(claims.unmeasured, lambda own: own[1])
    ]
    left_out = max((own.effect.left_out for own in claims.decisions), default=0)
    if left_out:
        lines.append(f"{_many(left_out, 'setting')} that not every replicate has {_are(left_out)} left out")
    return [*lines, *claims.notes]


def turns(claims: Claims) -> list[str]:
    """Return a sentence for each finding that a condition turns round, or that none does."""
    if len(claims.replicates) < LEAST_REPLICATES:
        return [f"conditions are judged from {LEAST_REPLICATES} replicates on; their effects are in --json"]
    whole = {own.finding.name: own for own in claims.decisions}
    lines = []
    for (name, dimension), group in _grouped(
        claims.conditions, lambda own: (own.finding.name, "" if own.condition is None else own.condition[0])
    ):
        sides = {verdict: [own for own in group if own.verdict is verdict] for verdict in Verdict}
        together = whole[name].verdict if name in whole else Verdict.NOT_DECIDED
        supported, contradicted = sides[Verdict.SUPPORTED], sides[Verdict.CONTRADICTED]
        if (supported and contradicted) or (
            (contradicted and together is Verdict.SUPPORTED) or (supported and together is Verdict.CONTRADICTED)
        ):
            said = [f"all together {together.value}"]
            said += [f"{own.verdict.value} at {_level(own)} ({_effect(own)})" for own in (*supported, *contradicted)]
            lines.append(f"{_names(group[:1])}, turns with the {dimension}: {'; '.join(said)}")
    return lines or ["no finding turns under any condition that the sweeps have"]


def survival_table(claims: Claims) -> TextTable | None:
    """Return the times of each forget set as survival curves; None: not asked for, or nothing was measured."""
    if not claims.survival:
        return None
    horizon = claims.survival[0].horizon
    rows = [
        [
            own.forget_set,
            str(own.trials),
            str(own.censored),
            _number(own.median),
            f"{_number(own.median_low)} to {_number(own.median_high)}",
            _number(own.restricted_mean),
        ]
        for own in claims.survival
    ]
    heads = ("forget set", "trials", "censored", "median", "95% interval", f"mean to {horizon:g}")
    return TextTable(title="steps until as never trained, over all trials (Kaplan-Meier)", heads=heads, rows=rows)


def describing_notes(claims: Claims) -> list[str]:
    """Return what survival curves and mixed models add, and that they decide nothing."""
    lines = [
        f"{own.within} against {own.out}: log-rank p {_p(own.p)}, as if trials were independent, which those of one "
        f"replicate are not: it decides nothing"
        for own in claims.tests or ()
    ]
    cells = {(own.quantity, own.forget_set) for own in claims.agreements}
    if any((quantity, name) not in cells for _, name in cells for quantity in ALWAYS_SHOWN):
        lines.append("-: all examples are tied by one of the two, as where RelEx is at its ceiling; or none got there")
    lines += [
        f"each nat/token of {own.trait}: {own.factor:.2f} times as many steps for an example ({own.low:.2f} to "
        f"{own.high:.2f}; mixed model, {own.examples} examples of {own.replicates} replicates, {own.censored} "
        f"censored{'' if own.converged else '; it did not converge well: do not trust the interval'})"
        for own in claims.mixed or ()
    ]
    return lines


def agreement_table(claims: Claims) -> TextTable | None:
    """Return how GenEx and RelEx agree on each forget set; None: not both were measured.

    ``-``: all examples are ties by one of the two, as where RelEx is at its ceiling, or nothing is as never trained.
    """
    sets = list(dict.fromkeys(own.forget_set for own in claims.agreements))
    cells = {(own.quantity, own.forget_set): _estimate(own.estimate) for own in claims.agreements}
    rows = [
        [words, *(cells.get((quantity, name), "-") for name in sets)]
        for quantity, words in QUANTITIES.items()
        if quantity in ALWAYS_SHOWN or any((quantity, name) in cells for name in sets)
    ]
    return TextTable(title="GenEx and RelEx side by side", heads=("", *sets), rows=rows) if rows else None


def comparisons(every: Sequence[Claims]) -> list[str]:
    """Return how the verdicts of several pools of sweeps compare; empty with a single one."""
    if len(every) < 2:
        return []
    lines = [
        "the sweeps differ in more than seeds and models, so that their replicates are not pooled; by verdict:",
    ]
    by_name = [{own.finding.name: own for own in claims.decisions} for claims in every]
    for name, first in {name: own for found in by_name for name, own in found.items()}.items():
        said = [
            f"{found[name].verdict.value} on {', '.join(claims.sweeps)}"
            for claims, found in zip(every, by_name, strict=True)
            if name in found
        ]
        lines.append(f"  {_names([first])}: {'; '.join(said)}")
    return lines


def _row(own: Decision) -> list[str]:
    interval = own.interval
    ends = "-" if interval is None else " to ".join(_effect_number(end, own) for end in interval)
    return [own.finding.letter, own.finding.claim, _effect(own), ends, _p(own.corrected_p), own.verdict.value]


def _effect(own: Decision) -> str:
    return _effect_number(own.mean, own)


def _effect_number(value: float, own: Decision) -> str:
    return f"{value:.2f}" if own.finding.is_ratio else f"{value:+.3f}" if abs(value) >= 0.01 else f"{value:+.1g}"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else "<.001"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _estimate(own: Estimate) -> str:
    ends = "" if own.low is None or own.high is None else f" ({own.low:.2f} to {own.high:.2f})"
    return f"{own.mean:.2f}{ends}"


def _sides(claims: Claims) -> Iterable[str]:
    """Yield what steps and prices are on each side, means over replicates, settings and sets."""
    found = {own.finding.name: own.effect.sides for own in claims.decisions if own.effect.sides.keys() == {"in", "out"}}
    parts = [f"{found['steps']['in']:.1f} steps in, {found['steps']['out']:.1f} out"] if "steps" in found else []
    parts += [
        f"lost {name} {found[f'price_{kind}']['in']:+.3f} in, {found[f'price_{kind}']['out']:+.3f} out"
        for kind, name in KIND_NAMES.items()
        if f"price_{kind}" in found
    ]
    if parts:
        yield f"on average: {'; '.join(parts)}"


def _pooled(claims: Claims) -> Iterable[str]:
    if len(claims.sweeps) > 1:
        yield (
            f"pooled: {', '.join(claims.sweeps)}, which differ in {', '.join(claims.differences) or 'nothing'} and "
            f"otherwise have one spec"
        )


def _unmatched(claims: Claims) -> Iterable[str]:
    for sets, every in _grouped(claims.matchings, lambda own: own.sets):
        unmatched = [str(own) for own in every if not own.matched]
        if unmatched:
            yield f"{sets}: NOT matched before unlearning: {', '.join(unmatched)}: an effect may be of that"
        else:
            yield f"{sets}: matched before unlearning within 10 %: {', '.join(map(str, every))}"


def _censored(claims: Claims) -> Iterable[str]:
    groups = [(sides, own) for sides, own in _grouped(claims.decisions, _censored_sides) if sides]
    for sides, own in groups:
        yield f"{_names(own, claims.decisions)}: not as never trained within the axis (censored): {sides}"
    for sides, own in groups:
        shares = [missing / there for one in own for missing, there in one.effect.unreached.values()]
        if max(shares) > MUCH_CENSORED:
            yield (
                f"{_names(own, claims.decisions)}: MORE THAN HALF of one side is censored ({sides}): the size of the "
                f"effect depends on where the axis ends; lengthen it (resume --steps)"
            )


def _censored_sides(own: Decision) -> str:
    """Return how many of each side were censored, without sides of which none was."""
    return ", ".join(
        f"{missing} of {there} {side if side == 'examples' else f'{side} trials'}"
        for side, (missing, there) in own.effect.unreached.items()
        if missing
    )


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> list[tuple[Key, list[Item]]]:
    """Return items by key, both in the order in which they first come."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.items())


def _names(decisions: Sequence[Decision], every: Sequence[Decision] = ()) -> str:
    """Return the names of findings; of a letter whose findings are all there, the letter alone."""
    names = []
    for letter, group in _grouped(decisions, lambda own: own.finding.letter):
        whole = len(group) == len([own for own in every if own.finding.letter == letter])
        names += [letter] if whole else [f"{letter} ({own.finding.claim})" for own in group]
    return ", ".join(names)


def _level(own: Decision) -> str:
    assert own.condition is not None
    return MEASURE_NAMES.get(own.condition[1], own.condition[1])


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
