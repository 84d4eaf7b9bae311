"""The figure of the claims: the effect of each finding with its interval, beside no effect."""

from collections.abc import Sequence

import altair as alt

from orchestrator.claims import LEAST_REPLICATES, Claims, Decision, wording
from orchestrator.report.figures.parts import layered
from orchestrator.report.plotting import BLUE, GREY, INK, VERMILLION, Figure, Panel

COLOURS = {"supported": BLUE, "contradicted": VERMILLION, "not decided": GREY}
"""Colours of verdicts."""
TITLES = {
    "times": "Steps until as never trained",
    "nats/token": "The trade-off",
    "nats/token a step": "Decay of performance",
    "of the sum": "Decay of performance, compared",
    "rank corr.": "Single examples",
}
"""Titles of panels by the unit of their effects."""
ROW_HEIGHT = 34
"""Pixels of one finding."""


def claims_figure(claims: Claims | None, replicates: int) -> Figure:
    """Return the figure of a sweep's claims: a panel for each unit of effect.

    Args:
        claims: of the sweep; None: it has too few replicates.
        replicates: that it has.
    """
    panels: list[Panel] = []
    for unit, decisions in [] if claims is None else wording.by_unit(claims):
        drawn = [own for own in decisions if own.interval is not None]
        if drawn:
            panels.append(_panel(unit, drawn))
    return Figure(
        name="claims",
        title="Does what the paper found hold here?",
        caption=_caption(replicates, drawn=bool(panels)),
        panels=panels,
        columns=2,
    )


def _panel(unit: str, decisions: Sequence[Decision]) -> Panel:
    rows = [_row(own) for own in decisions]
    finding = alt.Y("finding:N", title=None, sort=[str(row["finding"]) for row in rows], axis=alt.Axis(labelLimit=200))
    scale = alt.Scale(type="log", base=2) if decisions[0].finding.is_ratio else alt.Scale(zero=True)
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
        legend=alt.Legend(title=None, columns=3),
    )
    tooltip = [
        alt.Tooltip("finding:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("effect", "low", "high", "p")),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("estimand:N"),
    ]
    interval = (
        alt.Chart().mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", title=unit, scale=scale), x2="high:Q", y=finding, color=colour, tooltip=tooltip
        )
    )  # fmt: skip
    point = alt.Chart().mark_point(filled=True, size=70).encode(x="effect:Q", y=finding, color=colour, tooltip=tooltip)
    once = alt.Chart(alt.InlineData(values=[{}]))
    none = once.mark_rule(strokeDash=[5, 4], color=INK, strokeWidth=1).encode(x=alt.datum(decisions[0].finding.null))
    return layered(
        none,
        interval,
        point,
        rows=rows,
        title=TITLES[decisions[0].finding.unit],
        height=ROW_HEIGHT * len(rows),
        uri=None,
    )


def _row(own: Decision) -> dict[str, str | float | None]:
    assert own.interval is not None
    return {
        "finding": f"{own.finding.letter} {own.finding.claim}",
        "effect": own.mean,
        "low": own.interval[0],
        "high": own.interval[1],
        "p": own.corrected_p,
        "verdict": own.verdict.value,
        "estimand": own.finding.estimand,
    }


def _caption(replicates: int, *, drawn: bool) -> str:
    if drawn:
        return (
            "Effects over replicates with 95 % intervals; the dashed line is no effect. A verdict is corrected for "
            "several looks, so an interval beside the line alone decides nothing."
        )
    if replicates < LEAST_REPLICATES:
        return (
            f"Nothing is decided with fewer than {LEAST_REPLICATES} replicates, and this sweep has {replicates}: "
            f"model, data and forget sets must be drawn anew, which seeds of the ascent are not. Sweeps that differ in "
            f"seeds of data and models alone are judged together by: unlearn-sweep claims SWEEP..."
        )
    return "Nothing to draw: no finding has an interval over replicates."
