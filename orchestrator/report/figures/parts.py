"""Parts of several figures: names with units, layers over one data set, tooltips."""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt

from orchestrator.frontier import Frontier, Row, Spread, summary
from orchestrator.ledger import OWN_KIND
from orchestrator.report.data import look_up
from orchestrator.report.plotting import GREEN, INK, Panel

PERFORMANCE = "held-out NLL, nats/token"
QUALITY = {True: "mean |GenEx|, bits", False: "mean |RelEx − 1.44|, bits"}
"""Title of unlearning quality, by whether there are reference models."""
MEASURES = {"gen_ex": "mean GenEx, bits", "rel_ex": "mean RelEx, bits", "performance": PERFORMANCE}

_TRIAL, _STEP = "TRIAL-7f3a", "STEP-7f3a"
"""Placeholders in a command that the page replaces, by values that need no quotes."""
_SETTINGS = ("trial_id", "settings", "seed", "replicate", "step")
RESULTS = ("unlearning_quality", "gen_ex", "rel_ex", "performance", *OWN_KIND)
_TOOLTIPS: dict[str, Any] = {
    "forget_set": {"title": "forget set"},
    "trial_id": {"title": "trial"},
    "unlearning_quality": {"title": "unlearning quality, bits", "type": "quantitative", "format": ".3f"},
    "population_nll": {"title": "own kind, never trained, nats/token", "type": "quantitative", "format": ".3f"},
    "distractor_nll": {"title": "own kind, retained, nats/token", "type": "quantitative", "format": ".3f"},
    **{name: {"title": title, "type": "quantitative", "format": ".3f"} for name, title in MEASURES.items()},
}


def tooltip(*results: str, rows: Sequence[Row]) -> list[alt.Tooltip]:
    """Return the tooltip of an evaluation, without fields that no row has, with the command to look it up."""
    known = [_tooltip_of(name) for name in (*_SETTINGS, *_measured(results, rows))]
    return [*known, alt.Tooltip("command", type="nominal", title="look it up")]


def model_tooltip(rows: Sequence[Row]) -> list[alt.Tooltip]:
    """Return the tooltip of a base or reference model, without fields that no row has."""
    return [_tooltip_of(name) for name in ("model", "forget_set", *_measured(RESULTS, rows))]


def price_tooltip(rows: Sequence[Row]) -> list[alt.Tooltip]:
    """Return the tooltip of a price."""
    return [_tooltip_of(name) for name in ("kind", "settings", "step", *_measured(RESULTS, rows))]


def _measured(names: Sequence[str], rows: Sequence[Row]) -> list[str]:
    return [name for name in names if any(row.get(name) is not None for row in rows)]


def _tooltip_of(name: str) -> alt.Tooltip:
    return alt.Tooltip(name, **({"type": "nominal", "title": name} | _TOOLTIPS.get(name, {})))


def layered(
    *layers: alt.Chart, rows: Sequence[Row], title: str, height: int, uri: str | None, subtitle: str = ""
) -> Panel:
    """Return layers over one data set as a panel; with a ``uri``, rows of a trial get the command to look them up."""
    chart = alt.LayerChart(
        data=alt.InlineData(values=[dict(row) for row in rows]),
        layer=list(layers),
        title=alt.TitleParams(title, subtitle=subtitle) if subtitle else title,
        height=height,
        description=f"{title} {subtitle}".strip(),
    )
    if uri is None:
        return chart
    command = json.dumps(look_up(uri, _TRIAL, _STEP))
    expression = command.replace(_TRIAL, '" + datum.trial_id + "').replace(_STEP, '" + datum.step + "')
    is_id = "isValid(datum.trial_id) && test(/^[0-9A-Za-z]+$/, datum.trial_id) && isNumber(datum.step)"
    return chart.transform_calculate(command=f"{is_id} ? {expression} : null")


def rule(level: float) -> alt.Chart:
    """Return a dashed horizontal line across a panel."""
    once = alt.Chart(alt.InlineData(values=[{}]))
    line: alt.Chart = once.mark_rule(strokeDash=[5, 4], color=INK, strokeWidth=1).encode(y=alt.datum(level))
    return line


def floors_sentence(frontiers: Sequence[Frontier]) -> str:
    """Return the reference models' own |GenEx| as the last sentence of a caption; empty if not known."""
    note = summary.reference_note(frontiers, "gen_ex_abs")
    return f" {note[:1].upper()}{note[1:]}." if note else ""


def band(floor: Spread | None) -> list[alt.Chart]:
    """Return layers that show the floor across a panel, to go below all others; empty if the floor is not known."""
    if floor is None:
        return []
    once = alt.Chart(alt.InlineData(values=[{}]))
    spread = once.mark_rect(color=GREEN, opacity=0.14).encode(y=alt.datum(floor.low), y2=alt.datum(floor.high))
    mean = once.mark_rule(color=GREEN, strokeWidth=1.2, strokeDash=[2, 2]).encode(y=alt.datum(floor.mean))
    return [spread, mean]


def pairs(rows: Sequence[Row], forget_sets: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of forget set and method, in the order of the spec."""
    found = {(row["forget_set"], row["method"]) for row in rows}
    return sorted(found, key=lambda pair: (forget_sets.index(pair[0]), pair[1]))
