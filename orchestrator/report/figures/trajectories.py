"""The figure of trajectories: exposure and performance along the ascent."""

from collections.abc import Sequence

import altair as alt

from orchestrator.frontier import UNEXPOSED, Frontier, Row
from orchestrator.report.data import ReportData
from orchestrator.report.figures.parts import MEASURES, band, layered, pairs, rule, tooltip
from orchestrator.report.plotting import Figure, Panel

_NAMES = {"gen_ex": "GenEx", "rel_ex": "RelEx", "performance": "performance"}
_LEVELS = {
    "gen_ex": "as if never trained", "rel_ex": "as never-trained examples", "performance": "the base model",
}  # fmt: skip
"""Meaning of the dashed line of a panel."""
_STEPS = "ascent steps"
_RATE = ".1~e"


def trajectory_figure(data: ReportData) -> Figure:
    """Return the figure of exposure and performance by step: one line for each trial, by forget set and method."""
    measures = [m for m in MEASURES if any(row[m] is not None for row in data.trajectories)]
    panels = []
    for forget_set, method in pairs(data.trajectories, data.forget_sets):
        own = [r for r in data.trajectories if (r["forget_set"], r["method"]) == (forget_set, method)]
        frontier = next((f for f in data.frontiers if f.forget_set == forget_set), None)
        panels += [_trajectory_panel(data, own, measure, frontier, f"{forget_set} · {method}") for measure in measures]
    drawn = len({row["trial_id"] for row in data.trajectories})
    total = sum(f.trials for f in data.frontiers)
    leaves = "the model is over-unlearned (GenEx) or " if "gen_ex" in measures else ""
    models = "Green, of exposures: the range and the mean of the reference models."
    if not data.has_references:
        models = "GenEx is missing: the sweep has no reference models."
    return Figure(
        name="trajectories",
        title="Exposure and performance along the ascent",
        caption=(
            "Each line is one trial, by learning rate. Exposures have a scale for each forget set, performance one for "
            f"all. Lines leave the frame where {leaves}beyond nine tenths of all evaluations (performance). "
            f"{drawn} of {total} trials are drawn. {models}"
        )
        if panels
        else "Nothing to draw: no evaluation is committed.",
        panels=panels,
        columns=max(1, len(measures)),
    )


def _trajectory_panel(data: ReportData, rows: list[Row], measure: str, frontier: Frontier | None, title: str) -> Panel:
    base = None if frontier is None else frontier.base
    names = ("trial_id", "settings", "learning_rate", "seed", "replicate", "step", measure)
    values = [{name: row[name] for name in names} for row in rows if row[measure] is not None]
    x = alt.X("step:Q", title=_STEPS, axis=alt.Axis(tickMinStep=1, format="d"))
    bottom, top = _frame(data, measure, frontier)
    scale = alt.Scale(domain=[bottom, top], nice=False, zero=False)
    y = alt.Y(f"{measure}:Q", title=MEASURES[measure], scale=scale)
    color = alt.Color(
        "learning_rate:Q",
        scale=alt.Scale(type="log", scheme="viridis"),
        legend=alt.Legend(title="learning rate (log scale)", format=_RATE, values=_ends(values), columns=3),
    )
    # Segments, not one line for each trial: Vega clips every line separately, which makes a PNG take ten times as long.
    line = (
        alt.Chart()
        .transform_window(
            groupby=["trial_id"],
            sort=[alt.SortField("step")],
            step_before="lag(step)",
            value_before=f"lag({measure})",
        )
        .transform_filter("isValid(datum.step_before)")
        .mark_rule(strokeWidth=1.5, strokeCap="round", clip=True)
        .encode(
            x=alt.X("step_before:Q", title=_STEPS),
            x2="step:Q",
            y=alt.Y("value_before:Q", title=MEASURES[measure], scale=scale),
            y2=f"{measure}:Q",
            color=color,
        )
    )
    points = (
        alt.Chart()
        .transform_filter(alt.FieldRangePredicate(field=measure, range=[bottom, top]))
        .mark_circle(size=22, opacity=1)
        .encode(x=x, y=y, color=color, tooltip=tooltip(measure, rows=values))
    )
    level = UNEXPOSED.get(measure) if base is None or measure in UNEXPOSED else base[measure]
    floor = band(None if frontier is None else frontier.floor.get(measure))
    layers, subtitle = [*floor, line, points], _NAMES[measure]
    if level is not None:
        layers.append(rule(level))
        subtitle += f"; dashed: {_LEVELS[measure]}"
    return layered(*layers, rows=values, title=title, subtitle=subtitle, height=190, uri=data.uri)


def _ends(rows: Sequence[Row]) -> list[float]:
    """Return the learning rates to label: the ends and their geometric mean."""
    rates = [row["learning_rate"] for row in rows]
    low, high = min(rates), max(rates)
    return [low, (low * high) ** 0.5, high] if low < high else [low]


def _frame(data: ReportData, measure: str, frontier: Frontier | None) -> tuple[float, float]:
    """Return the vertical range of a panel, cut to the interesting part.

    Performance has one range for all forget sets, so that prices can be compared. An exposure has a range for each set:
    on the range of another set, its lines could be flat.
    """
    own = measure != "performance" and frontier is not None
    frontiers = [frontier] if own and frontier is not None else data.frontiers
    sets = {f.forget_set for f in frontiers} if own else {row["forget_set"] for row in data.trajectories}
    values = sorted(r[measure] for r in data.trajectories if r[measure] is not None and r["forget_set"] in sets)
    bases = [f.base[measure] for f in frontiers if f.base is not None and f.base[measure] is not None]
    if not values:
        return 0.0, 1.0
    if measure == "gen_ex":
        top = max(*values, *bases, 1.0)
        return max(-top, min(*values, 0.0) - 0.05 * top), 1.05 * top
    if measure == "rel_ex":
        return 0.0, 1.05 * max(*values, *bases, UNEXPOSED["rel_ex"])
    low, high = min(*values, *bases, values[0]), max(*bases, values[int(0.9 * (len(values) - 1))], values[0])
    margin = 0.05 * (high - low) + 1e-3
    return low - margin, high + margin
