"""The figure of heatmaps: exposure left over learning rate and step."""

from collections.abc import Mapping

import altair as alt

from orchestrator.report.data import ReportData
from orchestrator.report.figures.parts import QUALITY, floors_sentence, layered, pairs
from orchestrator.report.plotting import Figure


def heatmap_figure(data: ReportData) -> Figure:
    """Return the figure of exposure left by learning rate and step, as a share of the base model's exposure."""
    starts = {forget_set: _start(data, forget_set) for forget_set in data.forget_sets}
    panels = []
    for forget_set, method in pairs(data.heatmap, data.forget_sets):
        start = starts[forget_set]
        cells = [
            {**cell, "rates": _rates(cell["rate_from"], cell["rate_to"]), "share": cell["quality"] / start}
            for cell in data.heatmap
            if (cell["forget_set"], cell["method"]) == (forget_set, method)
        ]
        order = list(dict.fromkeys(cell["rates"] for cell in sorted(cells, key=lambda c: -c["rate_from"])))
        share = "share of the base model's that is left"
        chart = (
            alt.Chart()
            .mark_rect(stroke="white", strokeWidth=1)
            .encode(
                x=alt.X("step:O", title="ascent steps", axis=alt.Axis(labelAngle=0)),
                y=alt.Y("rates:O", title="learning rate", sort=order),
                color=alt.Color(
                    "share:Q",
                    scale=alt.Scale(scheme="viridis", reverse=True, domain=[0, 1], clamp=True),
                    legend=alt.Legend(title=[f"{QUALITY[data.has_references]}:", share], format="%"),
                ),
                tooltip=[
                    alt.Tooltip("rates:N", title="learning rate"),
                    alt.Tooltip("step:Q"),
                    alt.Tooltip("share:Q", title=share, format=".0%"),
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
            "Bright is unlearned. The colour is a share of what the base model has of the same forget set: "
            f"{_listed(data, starts)}. Learning rates of a method are put into up to 8 bins of equal width on a log "
            "axis (fewer rates: each its own); a cell is the median over all its trials, whatever their seed and "
            "other settings, collapsed ones included. As much as the base model or more has the darkest colour. White: "
            "nothing was run." + floors_sentence(data.frontiers)
        )
        if panels
        else "Nothing to draw: no evaluation is committed.",
        panels=panels,
        columns=2,
    )


def _start(data: ReportData, forget_set: str) -> float:
    """Return the base model's unlearning quality in bits; if it was not measured, the worst quality of a cell."""
    base = next((f.base for f in data.frontiers if f.forget_set == forget_set), None)
    known = None if base is None else base["unlearning_quality"]
    worst = max((cell["quality"] for cell in data.heatmap if cell["forget_set"] == forget_set), default=0.0)
    return known or worst or 1.0


def _listed(data: ReportData, starts: Mapping[str, float]) -> str:
    drawn = dict.fromkeys(cell["forget_set"] for cell in data.heatmap)
    return ", ".join(f"{name} {starts[name]:.1f} bits" for name in data.forget_sets if name in drawn)


def _rates(low: float, high: float) -> str:
    """Return a bin of learning rates as text."""
    ends = [f"{rate:.1e}".replace("e-0", "e-").replace("e+0", "e+") for rate in (low, high)]
    return ends[0] if ends[0] == ends[1] else " – ".join(ends)
