"""The figure of importances: how much each searched setting matters."""

from collections.abc import Sequence

import altair as alt

from orchestrator.report.figures.parts import layered
from orchestrator.report.importances import Importance
from orchestrator.report.plotting import BLUE, VERMILLION, Figure, Panel

OBJECTIVE_NAMES = {"unlearning_quality": "unlearning quality", "performance": "performance"}


def importance_figure(found: Sequence[Importance], notes: Sequence[str], forget_sets: Sequence[str]) -> Figure:
    """Return the figure of how much each searched setting matters for each objective, by forget set."""
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
                    legend=alt.Legend(title=None, columns=1),
                ),
                tooltip=["setting:N", "objective:N", alt.Tooltip("share:Q", format=".3f")],
            )
        )
        panels.append(layered(chart, rows=rows, title=forget_set, height=44 * len(order), uri=None))
    caption = (
        "PED-ANOVA: what distinguishes the best tenth of the observations from all. An observation is one evaluated "
        "step; seeds and replicates are pooled. Settings are named as in the tables. The best performance is always "
        "near no unlearning, so steps dominate it."
    )
    return Figure(
        name="importances",
        title="What decides unlearning and performance",
        caption=" ".join([caption if panels else "Nothing to draw.", *notes]),
        panels=panels,
        columns=2,
    )
