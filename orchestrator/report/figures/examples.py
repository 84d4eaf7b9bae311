"""The figure of examples: their exposure before and after unlearning."""

import json
from collections.abc import Sequence

import altair as alt

from orchestrator.frontier import Row
from orchestrator.report.data import Examples, ReportData
from orchestrator.report.figures.parts import floors_sentence, layered, rule
from orchestrator.report.plotting import BLUE, GREY, VERMILLION, Figure, Panel

EXAMPLES_DRAWN = 300
"""Examples of a forget set that the figure draws; if there are more, every n-th by exposure."""


def examples_figure(data: ReportData) -> Figure:
    """Return the figure of each example's exposure before and after unlearning, by memorization and by difficulty."""
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
            "below it is over-unlearned. After: " + " ".join(captions) + floors_sentence(data.frontiers)
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
    return layered(link, points, rule(0.0), rows=values, title=examples.forget_set, height=240, uri=None)
