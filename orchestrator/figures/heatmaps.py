"""The figure of heatmaps: exposure left over learning rate and step."""

import altair as alt

from orchestrator.figures.parts import QUALITY, floors_sentence, layered, pairs
from orchestrator.plotting import Figure
from orchestrator.report_data import ReportData


def heatmap_figure(data: ReportData) -> Figure:
    """Draw exposure left over learning rate and step, by forget set and method."""
    bases = [f.base["unlearning_quality"] for f in data.frontiers if f.base is not None]
    worst = max([b for b in bases if b is not None], default=max((c["quality"] for c in data.heatmap), default=0.0))
    panels = []
    for forget_set, method in pairs(data.heatmap, data.forget_sets):
        cells = [
            {**cell, "rates": _rates(cell["rate_from"], cell["rate_to"])}
            for cell in data.heatmap
            if (cell["forget_set"], cell["method"]) == (forget_set, method)
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
        panels.append(layered(chart, rows=cells, title=f"{forget_set} · {method}", height=height, uri=None))
    return Figure(
        name="heatmap",
        title="Exposure left by learning rate and step",
        caption=(
            "Bright is unlearned. Learning rates of a method are put into up to 8 bins of equal width on a log "
            "axis (fewer rates: each its own); a cell is the median over all its trials, whatever their seed and "
            f"other settings, collapsed ones included. Values beyond {worst:.1f} bits (the base model, where it was "
            "measured) have the darkest colour. White: nothing was run." + floors_sentence(data.frontiers)
        )
        if panels
        else "Nothing to draw: no evaluation is committed.",
        panels=panels,
        columns=2,
    )


def _rates(low: float, high: float) -> str:
    """Write a bin of learning rates."""
    ends = [f"{rate:.1e}".replace("e-0", "e-").replace("e+0", "e+") for rate in (low, high)]
    return ends[0] if ends[0] == ends[1] else " – ".join(ends)
