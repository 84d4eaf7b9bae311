"""The figures of a report: plain data to Vega-Lite charts. Nothing is read and nothing written here."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from orchestrator.frontier import UNEXPOSED, Frontier, Row
from orchestrator.importances import Importance
from orchestrator.plotting import BLUE, BY_DISTRIBUTION, GREEN, GREY, INK, OKABE_ITO, VERMILLION, Figure, Panel
from orchestrator.report_data import Examples, ReportData, look_up
from orchestrator.summary import DISTRIBUTIONS

PERFORMANCE = "held-out NLL, nats/token"
QUALITY = {True: "mean |GenEx|, bits", False: "mean |RelEx − 1.44|, bits"}
"""Unlearning quality with and without reference models."""
MEASURES = {"gen_ex": "mean GenEx, bits", "rel_ex": "mean RelEx, bits", "performance": PERFORMANCE}
_LEVELS = {
    "gen_ex": "GenEx; dashed: as if never trained",
    "rel_ex": "RelEx; dashed: as never-trained examples",
    "performance": "performance; dashed: the base model",
}
OBJECTIVE_NAMES = {"unlearning_quality": "unlearning quality", "performance": "performance"}
EXAMPLES_DRAWN = 300
"""Examples of a forget set that a figure draws; of more, every n-th by exposure."""

_EVALUATION, _PARETO, _BASE, _REFERENCE = "evaluation", "Pareto point", "base model", "reference model"
_KINDS = {  # drawn from the first to the last: colour (None: the panel's), shape, size in square pixels, opacity
    _EVALUATION: (GREY, "circle", 16, 0.45),
    _PARETO: (None, "circle", 30, 1.0),
    _REFERENCE: (GREEN, "triangle-up", 110, 1.0),
    _BASE: (INK, "diamond", 120, 1.0),
}
_RATE = ".1~e"


def frontier_figure(data: ReportData) -> Figure:
    """Draw unlearning quality against performance: every forget set apart, and their frontiers together."""
    rows = {f.forget_set: _frontier_rows(f, data.evaluations) for f in data.frontiers}
    panels: list[Panel] = []
    outside = 0
    for frontier in data.frontiers:
        own = rows[frontier.forget_set]
        if own:
            right, top = _frame(own)
            outside += sum(row["performance"] > right or row["unlearning_quality"] > top for row in own)
            panels.append(_frontier_panel(data, frontier, own, right, top))
    together = [row for own in rows.values() for row in own if row["kind"] != _EVALUATION]
    if len(panels) > 1 and any(row["kind"] == _PARETO for row in together):
        panels.append(_frontiers_together(data, together))
    caption = (
        "Every completed evaluation: what is left of the exposure, against performance. Down and left is better. The "
        "line joins the evaluations that no other beats in both; the corner between two of them is what both reach. "
        f"Base model: before unlearning. Reference models: never saw the forget set. {outside} evaluations lie "
        "outside the frames, which are cut to the frontiers."
    )
    if len(data.evaluations) < sum(f.evaluations for f in data.frontiers):
        caption += " Of the others, every n-th is drawn."
    return Figure(
        name="frontier",
        title="Frontier: exposure left against performance",
        caption=caption if panels else "Nothing to draw: no evaluation is committed and no baseline was measured.",
        panels=panels,
        columns=3,
    )


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
    ]
    names = (
        "trial_id", "optimizer", "learning_rate", "objective", "batch_size", "seed", "step", "gen_ex", "rel_ex",
        "unlearning_quality", "performance", "model",
    )  # fmt: skip
    return [
        {
            "kind": kind,
            "forget_set": frontier.forget_set,
            "distribution": DISTRIBUTIONS[frontier.distribution],
            **{name: row[name] for name in names if name in row},
        }
        for kind, rows in kinds
        for row in rows
        if row["unlearning_quality"] is not None and row["performance"] is not None
    ]


def _frame(rows: Sequence[Row]) -> tuple[float, float]:
    """Give the largest performance and quality to show: all but plain evaluations, with room for some of those."""
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
        .mark_point(filled=True, opacity=1, fillOpacity=_KINDS[kind][3], size=_KINDS[kind][2], clip=True)
        .encode(
            x=x,
            y=y,
            color=alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=colours), legend=legend),
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=shapes), legend=legend),
            tooltip=_tooltip(*_RESULTS) if kind in (_EVALUATION, _PARETO) else _model_tooltip(),
        )
        for kind in kinds
    ]
    line = (
        alt.Chart()
        .transform_filter(alt.datum.kind == _PARETO)
        .mark_line(interpolate="step-after", strokeWidth=1.8, color=colour, clip=True)
        .encode(x=x, y=y)
    )
    title = f"{frontier.forget_set} ({DISTRIBUTIONS[frontier.distribution]})"
    return _layered(line, *points, rows=rows, title=title, height=300, uri=data.uri)


def _frontiers_together(data: ReportData, rows: list[dict[str, Any]]) -> Panel:
    x = alt.X("performance:Q", title=f"{PERFORMANCE} (lower is better)", scale=alt.Scale(zero=False))
    y = alt.Y("unlearning_quality:Q", title=f"{QUALITY[data.has_references]} (lower is better)")
    labels = {f"{row['forget_set']} ({row['distribution']})": row["distribution"] for row in rows}
    legend = alt.Legend(title=None, symbolType="stroke", symbolSize=300, columns=1)
    colours = [OKABE_ITO[index % len(OKABE_ITO)] for index in range(len(labels))]
    dashes = [[1, 0] if distribution == DISTRIBUTIONS["in"] else [5, 3] for distribution in labels.values()]
    color = alt.Color("label:N", scale=alt.Scale(domain=list(labels), range=colours), legend=legend)
    dash = alt.StrokeDash("label:N", scale=alt.Scale(domain=list(labels), range=dashes), legend=legend)
    marks = {kind: look[1] for kind, look in _KINDS.items() if kind in (_BASE, _REFERENCE)}
    points = (
        alt.Chart()
        .transform_filter(alt.datum.kind != _PARETO)
        .mark_point(filled=True, opacity=1, size=80)
        .encode(
            x=x,
            y=y,
            color=color,
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=list(marks), range=list(marks.values())), legend=None),
            tooltip=_model_tooltip(),
        )
    )
    pareto = alt.Chart().transform_filter(alt.datum.kind == _PARETO)
    line = pareto.mark_line(interpolate="step-after", strokeWidth=2).encode(x=x, y=y, color=color, strokeDash=dash)
    hover = pareto.mark_circle(size=14, opacity=1).encode(x=x, y=y, color=color, tooltip=_tooltip(*_RESULTS))
    rows = [{**row, "label": f"{row['forget_set']} ({row['distribution']})"} for row in rows]
    return _layered(line, hover, points, rows=rows, title="All frontiers on one scale", height=300, uri=data.uri)


def trajectory_figure(data: ReportData) -> Figure:
    """Draw exposure and performance against steps, a line a trial, by forget set and optimizer."""
    measures = [m for m in MEASURES if any(row[m] is not None for row in data.trajectories)]
    panels = []
    for forget_set, optimizer in _pairs(data.trajectories, data.forget_sets):
        own = [r for r in data.trajectories if (r["forget_set"], r["optimizer"]) == (forget_set, optimizer)]
        base = next((f.base for f in data.frontiers if f.forget_set == forget_set), None)
        panels += [_trajectory_panel(data, own, measure, base, f"{forget_set} · {optimizer}") for measure in measures]
    drawn = len({row["trial_id"] for row in data.trajectories})
    total = sum(f.trials for f in data.frontiers)
    return Figure(
        name="trajectories",
        title="Exposure and performance along the ascent",
        caption=(
            "Each line is one trial, by learning rate. Dashed: a model that never saw the forget set (exposure), or "
            "the base model (performance). Lines leave the frame where the model is over-unlearned or beyond nine "
            f"tenths of all evaluations. {drawn} of {total} trials are drawn."
            + ("" if "gen_ex" in measures else " GenEx is missing: the sweep has no reference models.")
        )
        if panels
        else "Nothing to draw: no evaluation is committed.",
        panels=panels,
        columns=max(1, len(measures)),
    )


def _trajectory_panel(data: ReportData, rows: list[Row], measure: str, base: Row | None, title: str) -> Panel:
    names = ("trial_id", "optimizer", "learning_rate", "objective", "batch_size", "seed", "step", measure)
    values = [{name: row[name] for name in names} for row in rows if row[measure] is not None]
    x = alt.X("step:Q", title="ascent steps", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y(f"{measure}:Q", title=MEASURES[measure], scale=_trajectory_scale(data, measure))
    color = alt.Color(
        "learning_rate:Q",
        scale=alt.Scale(type="log", scheme="viridis"),
        legend=alt.Legend(title="learning rate (log scale)", format=_RATE, values=_ends(values), columns=3),
    )
    line = alt.Chart().mark_line(strokeWidth=1.5, clip=True).encode(x=x, y=y, color=color, detail="trial_id:N")
    points = (
        alt.Chart().mark_circle(size=22, opacity=1, clip=True).encode(x=x, y=y, color=color, tooltip=_tooltip(measure))
    )
    level = UNEXPOSED.get(measure) if base is None or measure in UNEXPOSED else base[measure]
    layers = [line, points] if level is None else [line, points, _rule(level)]
    return _layered(*layers, rows=values, title=title, subtitle=_LEVELS[measure], height=190, uri=data.uri)


def _ends(rows: Sequence[Row]) -> list[float]:
    """Give the learning rates to label: the ends and their geometric mean."""
    rates = [row["learning_rate"] for row in rows]
    low, high = min(rates), max(rates)
    return [low, (low * high) ** 0.5, high] if low < high else [low]


def _trajectory_scale(data: ReportData, measure: str) -> alt.Scale:
    """Give all panels of a measure one scale, so that they compare, cut to where there is something to see."""
    values = sorted(row[measure] for row in data.trajectories if row[measure] is not None)
    bases = [f.base[measure] for f in data.frontiers if f.base is not None and f.base[measure] is not None]
    if measure == "gen_ex":
        top = max(*values, *bases, 1.0)
        return alt.Scale(domain=[-top, 1.05 * top], nice=False)
    if measure == "rel_ex":
        return alt.Scale(domain=[0, 1.05 * max(*values, *bases, UNEXPOSED["rel_ex"])], nice=False)
    low, high = min(*values, *bases, values[0]), max(*bases, values[int(0.9 * (len(values) - 1))], values[0])
    margin = 0.05 * (high - low) + 1e-3
    return alt.Scale(domain=[low - margin, high + margin], nice=False, zero=False)


def heatmap_figure(data: ReportData) -> Figure:
    """Draw exposure left over learning rate and step, by forget set and optimizer."""
    bases = [f.base["unlearning_quality"] for f in data.frontiers if f.base is not None]
    worst = max([b for b in bases if b is not None], default=max((c["quality"] for c in data.heatmap), default=0.0))
    panels = []
    for forget_set, optimizer in _pairs(data.heatmap, data.forget_sets):
        cells = [
            {**cell, "rates": _rates(cell["rate_from"], cell["rate_to"])}
            for cell in data.heatmap
            if (cell["forget_set"], cell["optimizer"]) == (forget_set, optimizer)
        ]
        order = list(dict.fromkeys(cell["rates"] for cell in sorted(cells, key=lambda c: -c["rate_from"])))
        chart = (
            alt.Chart()
            .mark_rect(stroke="white", strokeWidth=1)
            .encode(
                x=alt.X("step:O", title="ascent steps", axis=alt.Axis(labelAngle=0)),
                y=alt.Y("rates:O", title="learning rate", sort=order),
                color=alt.Color(
                    "quality:Q",
                    scale=alt.Scale(scheme="viridis", reverse=True, domain=[0, worst or 1.0], clamp=True),
                    legend=alt.Legend(title=f"median of {QUALITY[data.has_references]}"),
                ),
                tooltip=[
                    alt.Tooltip("rates:N", title="learning rate"),
                    alt.Tooltip("step:Q"),
                    alt.Tooltip("quality:Q", title=f"median of {QUALITY[data.has_references]}", format=".2f"),
                    alt.Tooltip("trials:Q"),
                ],
            )
        )
        height = max(90, 26 * len(order))
        panels.append(_layered(chart, rows=cells, title=f"{forget_set} · {optimizer}", height=height, uri=None))
    return Figure(
        name="heatmap",
        title="Exposure left by learning rate and step",
        caption=(
            "Bright is unlearned. Learning rates of an optimizer are put into up to 8 bins of equal width on a log "
            "axis (fewer rates: each its own); a cell is the median over all its trials, whatever their seed and "
            f"other settings, collapsed ones included. Values beyond {worst:.1f} bits (the base model, where it was "
            "measured) have the darkest colour. White: nothing was run."
        )
        if panels
        else "Nothing to draw: no evaluation is committed.",
        panels=panels,
        columns=2,
    )


def examples_figure(data: ReportData) -> Figure:
    """Draw each example's exposure before and after unlearning, against memorization and difficulty."""
    panels = []
    captions = []
    for examples in data.examples:
        known = [row for row in examples.rows if row["before"] is not None and row["after"] is not None]
        if not known:
            continue
        rows = known[:: -(-len(known) // EXAMPLES_DRAWN)]
        panels += [_examples_panel(examples, rows, name) for name in ("memorization", "difficulty")]
        captions.append(
            f"{examples.forget_set}: trial {examples.trial_id}, step {examples.step} ({examples.choice}; "
            f"{len(rows)} of {len(examples.rows)} examples drawn)."
        )
    return Figure(
        name="examples",
        title="Exposure of each example, before and after",
        caption=(
            "Memorization is how much likelier the base model finds an example than the reference models do, "
            "difficulty how unlikely it is to them; both before unlearning. The dashed line is as if never trained; "
            "below it is over-unlearned. After: " + " ".join(captions)
        )
        if panels
        else "Nothing to draw: it takes reference models, and examples of a completed evaluation.",
        panels=panels,
        columns=2,
    )


def _examples_panel(examples: Examples, rows: Sequence[Row], name: str) -> Panel:
    before, after = "before unlearning", f"after, step {examples.step}"
    values = [
        {
            "example_id": row["example_id"], name: row[name], "num_tokens": row["num_tokens"],
            "before": row["before"], "after": row["after"],
        }
        for row in rows
    ]  # fmt: skip
    x = alt.X(f"{name}:Q", title=f"{name}, nats/token", scale=alt.Scale(zero=False))
    y_title = "GenEx of the example, bits"
    link = alt.Chart().mark_rule(color=GREY, opacity=0.5).encode(x=x, y=alt.Y("before:Q", title=y_title), y2="after:Q")
    points = (
        alt.Chart()
        .transform_fold(["before", "after"], as_=["when", "exposure"])
        .transform_calculate(when=f"datum.when == 'before' ? {json.dumps(before)} : {json.dumps(after)}")
        .mark_circle(size=46, opacity=1)
        .encode(
            x=x,
            y=alt.Y("exposure:Q", title=y_title),
            color=alt.Color(
                "when:N",
                scale=alt.Scale(domain=[before, after], range=[VERMILLION, BLUE]),
                legend=alt.Legend(title=None),
            ),
            tooltip=[
                alt.Tooltip("example_id:N", title="example"),
                alt.Tooltip("num_tokens:Q", title="tokens"),
                alt.Tooltip(f"{name}:Q", title=f"{name}, nats/token", format=".3f"),
                alt.Tooltip("before:Q", title="GenEx before, bits", format=".2f"),
                alt.Tooltip("after:Q", title="GenEx after, bits", format=".2f"),
            ],
        )
    )
    return _layered(link, points, _rule(0.0), rows=values, title=examples.forget_set, height=240, uri=None)


def importance_figure(found: Sequence[Importance], notes: Sequence[str], forget_sets: Sequence[str]) -> Figure:
    """Draw how much each searched setting decides each objective, by forget set."""
    panels: list[Panel] = []
    for forget_set in forget_sets:
        rows = [
            {"setting": i.setting, "objective": OBJECTIVE_NAMES[i.objective], "share": i.share}
            for i in found
            if i.forget_set == forget_set
        ]
        if not rows:
            continue
        order = list(dict.fromkeys(str(row["setting"]) for row in rows))
        objectives = list(OBJECTIVE_NAMES.values())
        chart = (
            alt.Chart()
            .mark_bar()
            .encode(
                x=alt.X("share:Q", title="importance, share of 1", scale=alt.Scale(domain=[0, 1])),
                y=alt.Y("setting:N", title=None, sort=order, axis=alt.Axis(labelLimit=200)),
                yOffset=alt.YOffset("objective:N", sort=objectives),
                color=alt.Color(
                    "objective:N",
                    scale=alt.Scale(domain=objectives, range=[BLUE, VERMILLION]),
                    legend=alt.Legend(title=None),
                ),
                tooltip=["setting:N", "objective:N", alt.Tooltip("share:Q", format=".3f")],
            )
        )
        panels.append(_layered(chart, rows=rows, title=forget_set, height=44 * len(order), uri=None))
    missing = f" Not told: {'; '.join(notes)}." if notes else ""
    caption = (
        "PED-ANOVA: what sets the best tenth of the observations apart from all. An observation is one evaluated step; "
        "seeds are pooled. The best performance is always near no unlearning, so steps rule it."
    )
    return Figure(
        name="importances",
        title="What decides unlearning and performance",
        caption=(caption if panels else "Nothing to draw.") + missing,
        panels=panels,
        columns=2,
    )


_SETTINGS = ("trial_id", "optimizer", "learning_rate", "objective", "batch_size", "seed", "step")
_RESULTS = ("gen_ex", "rel_ex", "performance")
_TOOLTIPS: dict[str, Any] = {
    "forget_set": {"title": "forget set"},
    "trial_id": {"title": "trial"},
    "learning_rate": {"title": "learning rate", "type": "quantitative", "format": ".3~g"},
    "batch_size": {"title": "batch size"},
    **{name: {"title": title, "type": "quantitative", "format": ".3f"} for name, title in MEASURES.items()},
}


def _tooltip(*results: str) -> list[alt.Tooltip]:
    """List what hovering shows of an evaluation, and the command to look it up."""
    known = [_tooltip_of(name) for name in (*_SETTINGS, *results)]
    return [*known, alt.Tooltip("command", type="nominal", title="look it up")]


def _model_tooltip() -> list[alt.Tooltip]:
    """List what hovering shows of a base or reference model."""
    return [_tooltip_of(name) for name in ("model", "forget_set", *_RESULTS)]


def _tooltip_of(name: str) -> alt.Tooltip:
    return alt.Tooltip(name, **({"type": "nominal", "title": name} | _TOOLTIPS.get(name, {})))


def _layered(
    *layers: alt.Chart, rows: Sequence[Row], title: str, height: int, uri: str | None, subtitle: str = ""
) -> Panel:
    """Put layers over one data set; with a ``uri``, rows of a trial get the command that looks them up."""
    chart = alt.LayerChart(
        data=alt.InlineData(values=[dict(row) for row in rows]),
        layer=list(layers),
        title=alt.TitleParams(title, subtitle=subtitle) if subtitle else title,
        height=height,
        description=f"{title} {subtitle}".strip(),
    )
    if uri is None:
        return chart
    command = json.dumps(look_up(uri, "{trial}", "{step}"))
    expression = command.replace("{trial}", '" + datum.trial_id + "').replace("{step}", '" + datum.step + "')
    return chart.transform_calculate(command=f"isValid(datum.trial_id) ? {expression} : null")


def _rule(level: float) -> alt.Chart:
    once = alt.Chart(alt.InlineData(values=[{}]))
    rule: alt.Chart = once.mark_rule(strokeDash=[5, 4], color=INK, strokeWidth=1).encode(y=alt.datum(level))
    return rule


def _pairs(rows: Sequence[Row], forget_sets: Sequence[str]) -> list[tuple[str, str]]:
    """List the pairs of forget set and optimizer, in the order of the spec."""
    pairs = {(row["forget_set"], row["optimizer"]) for row in rows}
    return sorted(pairs, key=lambda pair: (forget_sets.index(pair[0]), pair[1]))


def _rates(low: float, high: float) -> str:
    """Write a bin of learning rates."""
    ends = [f"{rate:.1e}".replace("e-0", "e-").replace("e+0", "e+") for rate in (low, high)]
    return ends[0] if ends[0] == ends[1] else " – ".join(ends)
