"""The table of what probes found: what was tried down the side, the models side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.frontier.probed import Point, ProbedOne, ProbedSet, Tried, exposure_of
from orchestrator.frontier.spreads import Row, spread_of
from orchestrator.frontier.summary.texts import DISTRIBUTION_NAMES, MEASURE_NAMES, number_text

REFERENCES = "references"
SAME_SHARE = 1e-3
"""Share of a mean by which that of a part of the forget set differs, at least."""
STEPS_TO_HALF = "steps_to_half"
"""Score of a probe that brings something back step by step: steps until half of it is back."""
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
    untried = "" if own.tried else "; nothing was tried on these models yet (unlearn-sweep probe)"
    if not own.references:
        return f"without reference models, nothing tells what a model that never saw the data would show{untried}"
    return (
        f"a point that is as never trained shows in each row what the reference models show there, which never saw the "
        f"data; where it shows more {MEASURE_NAMES[own.measure]}, it was hidden rather than gone, and "
        f"a membership AUC far below theirs shows the data too{untried}"
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
        tried = list(of_probe)
        if _is_of_a_part(own, tried[0]):
            yield (
                f"{probe}: before, on its examples",
                [_cell(column, tried[0], own.measure, "before_") for column in columns],
            )
        for variant, of_variant in groupby(tried, key=lambda one: one.variant):
            for one in of_variant:
                yield str(one), [_cell(column, one, own.measure, "") for column in columns]
            if any(_steps_to_half(model, probe, variant) is not None for column in columns for model in column):
                cells = [[_steps_to_half(model, probe, variant) for model in column] for column in columns]
                yield f"{probe}, {variant}: steps to half", [_mean(values, digits=1) for values in cells]


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
        before = None if row is None else exposure_of(row, own.measure, "before_")
        if whole is not None and before is not None and abs(before - whole) > SAME_SHARE * max(abs(before), 1.0):
            return True
    return False


def _steps_to_half(one: ProbedOne, probe: str, variant: str) -> float | None:
    scores = [dict(row["scores"]) for row in one.found if (row["probe"], row["variant"]) == (probe, variant)]
    return next((score[STEPS_TO_HALF] for score in scores if STEPS_TO_HALF in score), None)


def _cell(column: Sequence[ProbedOne], tried: Tried, measure: str, prefix: str) -> str:
    rows = [row for one in column if (row := one.row(tried)) is not None]
    if tried.score is not None:
        return _mean([dict(row["scores"]).get(tried.score) for row in rows], digits=3)
    if rows and not prefix and all(dict(row["scores"]).get("diverged") for row in rows):
        return "diverged"
    values = [_values(row, measure, prefix) for row in rows]
    if _is_each_against_the_others(rows) and not any(exposure is not None for exposure, _ in values):
        values = [(0.0, performance) for _, performance in values]
    return _mean_text(values)


def _is_each_against_the_others(rows: Sequence[Row]) -> bool:
    """Return whether rows are of several reference models whose likelihoods are known as means only (``exposure``).

    Each is measured against the mean of the others, so that over all of them the mean is 0 by definition.
    """
    roles = {row["role"] for row in rows}
    return (
        len(roles) > 1
        and all(role.startswith("reference-") for role in roles)
        and all(row["forget_nll"] is not None for row in rows)
    )


def _values(row: Row, measure: str, prefix: str) -> tuple[float | None, float | None]:
    return exposure_of(row, measure, prefix), row[f"{prefix}performance"]


def _mean_text(values: Sequence[tuple[float | None, float | None]]) -> str:
    """Return the means of exposure and performance."""
    exposure, performance = (_mean([value[index] for value in values], digits=2) for index in (0, 1))
    return "-" if exposure == performance == "-" else f"{exposure} ({performance})"


def _mean(values: Sequence[float | None], *, digits: int) -> str:
    spread = spread_of(values)
    return number_text(None if spread is None else spread.mean, digits)
