"""The table of verdicts, the tables of conditions, and what they rest on."""

from collections.abc import Iterable, Sequence

from orchestrator.claims.computing import Claims
from orchestrator.claims.deciding import Decision, Verdict
from orchestrator.claims.describing.matching import MEASURE_NAMES
from orchestrator.claims.findings import KIND_NAMES
from orchestrator.claims.intervals import LEAST_REPLICATES, LEVEL
from orchestrator.claims.wording.texts import TextTable, effect_text, grouped, level_text, many, names_of, verdict_row

HEADS = ("", "finding", "effect", f"{LEVEL:.0%} interval", "p", "verdict")
"""Columns of the table of verdicts."""
UNITS = (
    "effects: a: out's steps divided by in's; b: nats/token that in loses more than out; c: nats/token a step, and the "
    "difference of slopes by their sum; d: rank correlation with steps. in, out: in- and out-of-distribution sets, at "
    "the same settings"
)
AXES = {
    "times": "out's steps by in's, times",
    "nats/token": "what in loses more than out, nats/token",
    "nats/token a step": "slope of in, nats/token a step",
    "of the sum": "difference of slopes by their sum, share of 1",
    "rank corr.": "rank correlation with steps",
}
"""What an effect is measured in, by its unit."""
MUCH_CENSORED = 0.5
"""Share of trials that are not as never trained from which on a note says what that does to the effect."""


def title_of(claims: Claims) -> str:
    """Return what was judged."""
    measure = f"; exposure by {MEASURE_NAMES[claims.measure]}" if claims.measure else ""
    return (
        f"the paper's findings on {', '.join(claims.sweeps)}: {many(len(claims.replicates), 'replicate')}, "
        f"{many(claims.settings, 'setting')}, {claims.last_step} steps{measure}"
    )


def verdict_table(claims: Claims) -> TextTable:
    """Return a row for each finding that was measured."""
    return TextTable(title=title_of(claims), heads=HEADS, rows=[verdict_row(own) for own in claims.decisions])


def by_unit(claims: Claims) -> list[tuple[str, list[Decision]]]:
    """Return what was decided by what its effects are measured in, for readers."""
    return grouped(claims.decisions, lambda own: AXES[own.finding.unit])


def condition_tables(claims: Claims) -> list[TextTable]:
    """Return a table for each dimension of conditions; none without enough replicates to decide anything."""
    if len(claims.replicates) < LEAST_REPLICATES:
        return []
    found: dict[str, list[Sequence[str]]] = {}
    last: dict[str, str] = {}
    for own in claims.conditions:
        assert own.condition is not None
        dimension, level = own.condition
        letter, claim, *cells = verdict_row(own)
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
        f"{names_of(group, claims.decisions)}: not decided: {reason}"
        for reason, group in grouped([own for own in claims.decisions if own.reason], lambda own: own.reason)
    ]
    lines += [
        f"{', '.join(finding.claim for finding, _ in group)}: not measured: {reason}"
        for reason, group in grouped(claims.unmeasured, lambda own: own[1])
    ]
    untold = max((own.effect.untold for own in claims.decisions), default=0)
    if untold:
        lines.append(
            f"d: {many(untold, 'trial')} in which no example is as never trained before another, such as where all are "
            f"censored, {_are(untold)} in no mean"
        )
    left_out = max((own.effect.left_out for own in claims.decisions), default=0)
    if left_out:
        lines.append(
            f"{many(left_out, 'combination')} of forget sets and setting that not every replicate has "
            f"{_are(left_out)} left out"
        )
    return [*lines, *claims.notes]


def turns(claims: Claims) -> list[str]:
    """Return a sentence for each finding that a condition turns round, or that none does."""
    if len(claims.replicates) < LEAST_REPLICATES:
        return [f"conditions are judged from {LEAST_REPLICATES} replicates on; their effects are in --json"]
    whole = {own.finding.name: own for own in claims.decisions}
    lines = []
    for (name, dimension), group in grouped(
        claims.conditions, lambda own: (own.finding.name, "" if own.condition is None else own.condition[0])
    ):
        decided = sorted((own for own in group if _is_decided(own)), key=_is_below)  # what is above comes first
        together = [whole[name]] if name in whole else []
        if len({_is_below(own) for own in (*decided, *filter(_is_decided, together))}) > 1 and decided:
            said = [f"all together {own.verdict.value} ({effect_text(own)})" for own in together]
            said += [f"{own.verdict.value} at {level_text(own)} ({effect_text(own)})" for own in decided]
            lines.append(f"{names_of(group[:1])}, turns with the {dimension}: {'; '.join(said)}")
    return lines or ["no finding turns under any condition that the sweeps have"]


def _is_decided(own: Decision) -> bool:
    return own.verdict is not Verdict.NOT_DECIDED


def _is_below(own: Decision) -> bool:
    """Return whether an effect is below the null: of most findings such a one contradicts, of some it supports, too."""
    return own.effect.estimate.mean < 0


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
            f"{found[name].verdict.value} ({effect_text(found[name])}) on {', '.join(claims.sweeps)}"
            for claims, found in zip(every, by_name, strict=True)
            if name in found
        ]
        lines.append(f"  {names_of([first])}: {'; '.join(said)}")
    return lines


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
    for sets, every in grouped(claims.matchings, lambda own: own.sets):
        unmatched = [str(own) for own in every if not own.matched]
        if unmatched:
            yield f"{sets}: NOT matched before unlearning: {', '.join(unmatched)}: an effect may be of that"
        else:
            within = f"{every[0].tolerance:.0%}"
            yield f"{sets}: matched before unlearning within {within}: {', '.join(map(str, every))}"


def _censored(claims: Claims) -> Iterable[str]:
    groups = [(sides, own) for sides, own in grouped(claims.decisions, _censored_sides) if sides]
    for sides, own in groups:
        yield f"{names_of(own, claims.decisions)}: not as never trained within the axis (censored): {sides}"
    for sides, own in groups:
        shares = [missing / there for one in own for missing, there in one.effect.unreached.values()]
        if max(shares) > MUCH_CENSORED:
            yield (
                f"{names_of(own, claims.decisions)}: MORE THAN HALF of one side is censored ({sides}): the size of the "
                f"effect depends on where the axis ends; lengthen it (resume --steps)"
            )


def _censored_sides(own: Decision) -> str:
    """Return how many of each side were censored, without sides of which none was."""
    return ", ".join(
        f"{missing} of {there} {side if side == 'examples' else f'{side} trials'}"
        for side, (missing, there) in own.effect.unreached.items()
        if missing
    )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
