"""The table of what probes found: what was tried down the side, the models side by side."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.frontier.probed import Point, ProbedOne, ProbedSet, Tried, diverged
from orchestrator.frontier.spreads import spread_of
from orchestrator.frontier.summary.texts import DISTRIBUTION_NAMES, MEASURE_NAMES, number_text

REFERENCES = "references"
SAME_SHARE = 1e-3
"""Share of a mean by which that of a part of the forget set differs, at least."""
STEPS_TO_HALF = "steps_to_half"
"""Score of a probe that brings something back step by step: steps until half of it is back."""
REGAINED = "regained"
"""Score of such a probe after each step: the share that is back. Absent where hardly anything had been removed."""
ABSENT = "-"
"""What a table shows where there is no value."""
_EITHER = (
    ("membership by Min-K%, AUC", "mia_min_k_auc", 3),
    ("membership against the references, AUC", "mia_reference_auc", 3),
    ("PrivLeak, %", "privleak", 1),
    ("extraction strength", "extraction_strength", 3),
)
_OF_EVALUATION = {
    "gen_ex": (("worst example, bits", "gen_ex_max", 2), ("95th percentile, bits", "gen_ex_p95", 2), *_EITHER),
    "rel_ex": (("worst example, bits", "rel_ex_max", 2), ("95th percentile, bits", "rel_ex_p95", 2), *_EITHER),
}
"""Rows of what evaluations measure beside the mean, by the measure of exposure: label, column and digits. Those that no
model has are left out."""
_Cells = tuple[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class ProbeTable:
    """A table of text."""

    title: str
    heads: Sequence[str]
    """Of the columns behind the first: a point or a control each."""
    rows: Sequence[_Cells]
    """What was tried, and a cell for each column."""


def probe_table(own: ProbedSet, names: Mapping[Point, str], points: Sequence[ProbedOne] | None = None) -> ProbeTable:
    """Return the table of one forget set.

    Args:
        own: what was found.
        names: what points are, such as the knee, by trial and step.
        points: the only points to show; None: all.
    """
    base = [one for one in own.controls if one.role == "base"]
    columns = [[one] for one in (*(own.points if points is None else points), *base)]
    heads = [_head(one, names) for column in columns for one in column]
    if own.references:
        columns.append(own.references)
        heads.append(REFERENCES)
    return ProbeTable(
        title=(
            f"{own.forget_set} ({DISTRIBUTION_NAMES[own.distribution]}): {MEASURE_NAMES[own.measure]} in bits "
            f"(held-out NLL in nats/token){' after each probe' if own.tried else ''}"
        ),
        heads=heads,
        rows=list(_rows(own, columns)),
    )


def probe_note(own: ProbedSet) -> str:
    """Return a note on what values mean."""
    more = "" if own.tried else "; nothing was tried on these models yet (unlearn-sweep probe)"
    for probe, count in own.other_settings.items():
        points = "1 point was" if count == 1 else f"{count} points were"
        more += f"; {points} probed by {probe} with other settings, and left out: probe again to compare"
    if not own.references:
        return f"without reference models, nothing tells what a model that never saw the data would show{more}"
    if 1 in Counter(one.replicate for one in own.references).values():
        more = f"; the only reference model is compared with itself: 0 before a probe, by definition{more}"
    return (
        f"a point that is as never trained shows in each row what the reference models show there, which never saw the "
        f"data; where it shows more {MEASURE_NAMES[own.measure]}, it was hidden rather than gone, and "
        f"a membership AUC far below theirs shows the data too{more}"
    )


def _rows(own: ProbedSet, columns: Sequence[Sequence[ProbedOne]]) -> Iterator[_Cells]:
    """Yield the rows; a column holds one model, or several whose mean it shows."""
    yield (
        "as the sweep measured it",
        [_mean_text([_measured(one, own.measure) for one in column]) for column in columns],
    )
    for name, column_name, digits in _OF_EVALUATION[own.measure]:
        values = [[None if one.measured is None else one.measured.get(column_name) for one in c] for c in columns]
        if any(value is not None for own_values in values for value in own_values):
            yield name, [_mean(own_values, digits=digits) for own_values in values]
    for probe, of_probe in groupby(own.tried, key=lambda tried: tried.probe):
        shown_before = None
        for variant, of_variant in groupby(of_probe, key=lambda one: one.variant):
            tried = list(of_variant)
            before = [_cell(column, tried[0], own.measure, "before_") for column in columns]
            if _is_of_a_part(own, tried[0]) and before != shown_before:
                yield f"{probe}: before, on its examples", before
                shown_before = before
            for one in tried:
                yield str(one), [_cell(column, one, own.measure, "") for column in columns]
            halves = [_half_text(column, probe, variant) for column in columns]
            if set(halves) != {ABSENT}:
                yield f"{probe}, {variant}: steps to half", halves


def _head(one: ProbedOne, names: Mapping[Point, str]) -> str:
    if one.point is None:
        return f"{one.role} of replicate {one.replicate}" if one.replicate else one.role
    name = names.get(one.point)
    return f"{'' if name is None else f'{name}: '}{one.point[0][:8]} step {one.step}"


def _measured(one: ProbedOne, measure: str) -> tuple[float | None, float | None]:
    return (None, None) if one.measured is None else (one.measured[measure], one.measured["performance"])


def _is_of_a_part(own: ProbedSet, tried: Tried) -> bool:
    """Return whether a probe measures other examples than the whole forget set."""
    for one in (*own.points, *own.controls):
        row, whole = one.row(tried), _measured(one, own.measure)[0]
        before = None if row is None else row[f"before_{own.measure}"]
        if whole is not None and before is not None and abs(before - whole) > SAME_SHARE * max(abs(before), 1.0):
            return True
    return False


def _half_text(column: Sequence[ProbedOne], probe: str, variant: str) -> str:
    """Return after how many steps half of what was removed is back, on average of the models where it comes back.

    ``> N``: in none, within N steps. Models from which nothing had been removed do not count.
    """
    found = [_steps_to_half(one, probe, variant) for one in column]
    asked = [one for one in found if one is not None]
    halves = [half for half, _ in asked if half is not None]
    if not halves:
        return f"> {max(last for _, last in asked):g}" if asked else ABSENT
    share = "" if len(halves) == len(asked) else f" ({len(halves)} of {len(asked)})"
    return f"{_mean(halves, digits=1)}{share}"


def _steps_to_half(one: ProbedOne, probe: str, variant: str) -> tuple[float | None, float] | None:
    """Return the steps to half, None where it does not come back, and the last step; None: nothing had been removed."""
    rows = [row for row in one.found if (row["probe"], row["variant"]) == (probe, variant)]
    curve = [(row["amount"] or 0.0, scores) for row in rows if REGAINED in (scores := dict(row["scores"]))]
    if not curve:
        return None
    return next((s[STEPS_TO_HALF] for _, s in curve if STEPS_TO_HALF in s), None), max(step for step, _ in curve)


def _cell(column: Sequence[ProbedOne], tried: Tried, measure: str, prefix: str) -> str:
    rows = [row for one in column if (row := one.row(tried)) is not None]
    if tried.score is not None:
        return _mean([dict(row["scores"]).get(tried.score) for row in rows], digits=3)
    if rows and not prefix and all(map(diverged, rows)):
        return "diverged"
    return _mean_text([(row[f"{prefix}{measure}"], row[f"{prefix}performance"]) for row in rows])


def _mean_text(values: Sequence[tuple[float | None, float | None]]) -> str:
    """Return the means of exposure and performance."""
    exposure, performance = (_mean([value[index] for value in values], digits=2) for index in (0, 1))
    return ABSENT if exposure == performance == ABSENT else f"{exposure} ({performance})"


def _mean(values: Sequence[float | None], *, digits: int) -> str:
    spread = spread_of(values)
    return number_text(None if spread is None else spread.mean, digits)
