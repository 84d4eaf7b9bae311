"""The figure of frontiers: unlearning quality against performance."""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from orchestrator.frontier import UNEXPOSED, Frontier, Row, settings_of, summary
from orchestrator.report.data import ReportData
from orchestrator.report.figures.parts import (
    PERFORMANCE,
    QUALITY,
    RESULTS,
    band,
    layered,
    model_tooltip,
    price_tooltip,
    tooltip,
)
from orchestrator.report.plotting import BY_DISTRIBUTION, GREEN, GREY, INK, OKABE_ITO, Figure, Panel

_EVALUATION, _PARETO, _BASE, _REFERENCE = "evaluation", "Pareto point", "base model", "reference model"
_PRICE = "price"
_KINDS = {  # in drawing order: colour (None: the panel's), shape, size in square pixels, opacity
    _EVALUATION: (GREY, "circle", 16, 0.45),
    _PARETO: (None, "circle", 30, 1.0),
    _REFERENCE: (GREEN, "triangle-up", 110, 1.0),
    _BASE: (INK, "diamond", 120, 1.0),
    _PRICE: ("#CC79A7", "cross", 150, 1.0),
}


def frontier_figure(data: ReportData) -> Figure:
    """Return the figure of unlearning quality against performance: each forget set, and all frontiers together."""
    rows = {f.forget_set: _frontier_rows(f, data.evaluations) for f in data.frontiers}
    panels: list[Panel] = []
    outside = 0
    for frontier in data.frontiers:
        own = rows[frontier.forget_set]
        if own:
            right, top = _frame(own)
            inside = [row for row in own if row["performance"] <= right and row["unlearning_quality"] <= top]
            outside += len(own) - len(inside)
            panels.append(_frontier_panel(data, frontier, inside, right, top))
    together = [row for own in rows.values() for row in own if row["kind"] != _EVALUATION]
    if len(panels) > 1 and any(row["kind"] == _PARETO for row in together):
        panels.append(_frontiers_together(data, together))
    return Figure(
        name="frontier",
        title="Frontier: exposure left against performance",
        caption=_caption(data, outside)
        if panels
        else "Nothing to draw: no evaluation is committed and no baseline was measured.",
        panels=panels,
        columns=3,
    )


def _caption(data: ReportData, outside: int) -> str:
    """Return what is drawn, and that ``outside`` evaluations are not."""
    sentences = [
        "Every completed evaluation: what is left of the exposure, against performance. Down and left is better. The "
        "line joins the evaluations that no other beats in both; the corner between two of them is what both reach."
    ]
    if any(frontier.base is not None for frontier in data.frontiers):
        several = any(len(frontier.bases) > 1 for frontier in data.frontiers)
        sentences.append(f"Diamond: the base model, before unlearning{', mean of the replicates' * several}.")
    if priced := [frontier for frontier in data.frontiers if frontier.price(frontier.measure)]:
        measure = priced[0].measure
        sentences.append(
            f"Cross: the price, where the signed mean of {summary.MEASURE_NAMES[measure]} comes down to "
            f"{UNEXPOSED[measure]:.3g}, "
            f"between two evaluated steps, by the mean over {summary.averaged(data.frontiers)} of the best setting. "
            f"Examples above and below cancel in that mean, and do not in what this figure shows."
        )
    if any(frontier.references for frontier in data.frontiers):
        sentences.append("Triangles: reference models, which never saw the forget set.")
    if any("unlearning_quality" in frontier.floor for frontier in data.frontiers):
        sentences.append(
            "Green band and line: the floor, the range and the mean of the reference models, each measured against the "
            "others. No model is expected below it."
        )
    if len(data.evaluations) < sum(frontier.evaluations for frontier in data.frontiers):
        sentences.append("Beside those on the line, only every n-th evaluation is taken.")
    if outside:
        sentences.append(f"{outside} evaluations lie outside the frames, which are cut to the frontiers.")
    return " ".join(sentences)


def _frontier_rows(frontier: Frontier, evaluations: Sequence[Row]) -> list[dict[str, Any]]:
    pareto = {(row["trial_id"], row["step"]) for row in frontier.points}
    rest = (
        row
        for row in evaluations
        if row["forget_set"] == frontier.forget_set
        and row["status"] == "completed"
        and (row["trial_id"], row["step"]) not in pareto
    )
    kinds: list[tuple[str, Iterable[Row]]] = [
        (_EVALUATION, rest),
        (_PARETO, frontier.points),
        (_REFERENCE, frontier.references),
        (_BASE, [frontier.base] if frontier.base is not None else []),
        (_PRICE, _price_rows(frontier)),
    ]
    names = ("trial_id", "seed", "replicate", "step", *RESULTS, "model")
    return [
        {
            "kind": kind,
            "forget_set": frontier.forget_set,
            "distribution": summary.DISTRIBUTION_NAMES[frontier.distribution],
            **{name: row[name] for name in names if name in row},
            **({"settings": settings_of(row)} if "learning_rate" in row or "settings" in row else {}),
        }
        for kind, rows in kinds
        for row in rows
        if row["unlearning_quality"] is not None and row["performance"] is not None
    ]


def _price_rows(frontier: Frontier) -> list[Row]:
    """Return the price as a row to draw; empty if no trial ends the exposure."""
    best = frontier.price(frontier.measure)
    if best is None or best.steps is None or best.performance is None or best.unlearning_quality is None:
        return []
    return [
        {
            "settings": best.settings,
            "step": round(best.steps.mean, 1),
            "unlearning_quality": best.unlearning_quality.mean,
            "performance": best.performance.mean,
            frontier.measure: UNEXPOSED[frontier.measure],
        }
    ]


def _frame(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the largest performance and quality to show: those of all marked points, and some margin."""
    marked = [row for row in rows if row["kind"] != _EVALUATION] or list(rows)
    left, right = (bound(row["performance"] for row in marked) for bound in (min, max))
    top = max(row["unlearning_quality"] for row in marked)
    return right + 0.25 * (right - left) + 1e-3, 1.08 * top + 1e-3


def _frontier_panel(
    data: ReportData, frontier: Frontier, rows: list[dict[str, Any]], right: float, top: float
) -> Panel:
    left = min(row["performance"] for row in rows)
    x = alt.X(
        "performance:Q",
        title=f"{PERFORMANCE} (lower is better)",
        scale=alt.Scale(domain=[left - 0.04 * (right - left), right], nice=False, zero=False),
    )
    y = alt.Y(
        "unlearning_quality:Q",
        title=f"{QUALITY[data.has_references]} (lower is better)",
        scale=alt.Scale(domain=[0, top], nice=False),
    )
    colour = BY_DISTRIBUTION[frontier.distribution]
    kinds = [kind for kind in _KINDS if any(row["kind"] == kind for row in rows)]
    colours = [_KINDS[kind][0] or colour for kind in kinds]
    shapes = [_KINDS[kind][1] for kind in kinds]
    legend = alt.Legend(title=None)
    points = [
        alt.Chart()
        .transform_filter(alt.datum.kind == kind)
        .mark_point(filled=True, opacity=1, fillOpacity=_KINDS[kind][3], size=_KINDS[kind][2])
        .encode(
            x=x,
            y=y,
            color=alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=colours), legend=legend),
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=shapes), legend=legend),
            tooltip=_tooltip(kind, [row for row in rows if row["kind"] == kind]),
        )
        for kind in kinds
    ]
    line = (
        alt.Chart()
        .transform_filter(alt.datum.kind == _PARETO)
        .mark_line(interpolate="step-after", strokeWidth=1.8, color=colour)
        .encode(x=x, y=y)
    )
    title = f"{frontier.forget_set} ({summary.DISTRIBUTION_NAMES[frontier.distribution]})"
    floor = band(frontier.floor.get("unlearning_quality"))
    return layered(*floor, line, *points, rows=rows, title=title, height=300, uri=data.uri)


def _tooltip(kind: str, rows: Sequence[Row]) -> list[alt.Tooltip]:
    if kind in (_EVALUATION, _PARETO):
        return tooltip(*RESULTS, rows=rows)
    return price_tooltip(rows) if kind == _PRICE else model_tooltip(rows)


def _frontiers_together(data: ReportData, rows: list[dict[str, Any]]) -> Panel:
    x = alt.X("performance:Q", title=f"{PERFORMANCE} (lower is better)", scale=alt.Scale(zero=False))
    y = alt.Y("unlearning_quality:Q", title=f"{QUALITY[data.has_references]} (lower is better)")
    labels = {f"{row['forget_set']} ({row['distribution']})": row["distribution"] for row in rows}
    legend = alt.Legend(title=None, symbolType="stroke", symbolSize=300, columns=1)
    colours = [OKABE_ITO[index % len(OKABE_ITO)] for index in range(len(labels))]
    dashes = [
        [1, 0] if distribution == summary.DISTRIBUTION_NAMES["in"] else [5, 3] for distribution in labels.values()
    ]
    color = alt.Color("label:N", scale=alt.Scale(domain=list(labels), range=colours), legend=legend)
    dash = alt.StrokeDash("label:N", scale=alt.Scale(domain=list(labels), range=dashes), legend=legend)
    marks = {kind: look[1] for kind, look in _KINDS.items() if kind in (_BASE, _REFERENCE, _PRICE)}
    points = (
        alt.Chart()
        .transform_filter(alt.datum.kind != _PARETO)
        .mark_point(filled=True, opacity=1, size=80)
        .encode(
            x=x,
            y=y,
            color=color,
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=list(marks), range=list(marks.values())), legend=None),
            tooltip=model_tooltip([row for row in rows if row["kind"] != _PARETO]),
        )
    )
    pareto = alt.Chart().transform_filter(alt.datum.kind == _PARETO)
    line = pareto.mark_line(interpolate="step-after", strokeWidth=2).encode(x=x, y=y, color=color, strokeDash=dash)
    hover = pareto.mark_circle(size=14, opacity=1).encode(x=x, y=y, color=color, tooltip=tooltip(*RESULTS, rows=rows))
    rows = [{**row, "label": f"{row['forget_set']} ({row['distribution']})"} for row in rows]
    return layered(line, hover, points, rows=rows, title="All frontiers on one scale", height=300, uri=data.uri)
