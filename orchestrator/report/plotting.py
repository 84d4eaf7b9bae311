"""What all figures share: structure, style, and conversion to a page, PNG and SVG. No data is read here.

Charts are Vega-Lite. The page draws them by its own JavaScript, vl-convert draws files, without browser or network.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode

from orchestrator.safe_text import clean

Panel = alt.LayerChart

BLUE, VERMILLION, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8c8c8c", "#1a1a1a"
OKABE_ITO = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", INK)
"""Colours that colour-blind people can tell apart (Okabe & Ito 2008), without yellow, which is invisible on white."""
BY_DISTRIBUTION = {"in": BLUE, "out": VERMILLION}

PANEL_WIDTH = 330
"""Width of a panel in an image, in pixels; in the page it follows the screen."""

_FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"
_CONFIG: dict[str, Any] = {
    "background": "white",
    "font": _FONT,
    "view": {"stroke": None, "continuousWidth": PANEL_WIDTH, "continuousHeight": 240},
    "title": {"anchor": "start", "frame": "group", "fontSize": 13, "fontWeight": 600, "color": INK, "offset": 10,
              "subtitleFontSize": 11, "subtitleColor": "#555", "subtitlePadding": 4},
    "axis": {
        "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": 400, "titleColor": "#444", "labelColor": "#444",
        "gridColor": "#ececec", "domainColor": "#999", "tickColor": "#999", "titlePadding": 8, "labelOverlap": True,
        "labelSeparation": 8, "labelFlush": False,
    },
    "legend": {
        "orient": "bottom", "direction": "horizontal", "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": 400,
        "titleColor": "#444", "labelColor": "#444", "gradientThickness": 8, "gradientLength": 160, "columns": 2,
        "labelLimit": 220, "titleLimit": 320, "symbolSize": 70,
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure: panels side by side, each readable alone."""

    name: str
    """Name of its files, without the ending."""
    title: str
    caption: str
    """What is drawn, how it is summarized, and what is left out; without panels, what is missing."""
    panels: Sequence[Panel]
    columns: int
    """Number of panels in a row of an image."""

    def page_specs(self) -> list[dict[str, Any]]:
        """Return each panel as a Vega-Lite specification that fills the available width."""
        return [_styled(panel.properties(width="container")) for panel in self.panels]

    def images(self) -> dict[str, bytes]:
        """Return one image of all panels by file ending; PNG has twice the resolution of a screen."""
        panels = [panel.properties(width=PANEL_WIDTH) for panel in self.panels]
        chart = alt.concat(*panels, columns=self.columns, spacing=28).resolve_scale(
            color="independent", shape="independent", strokeDash="independent", y="independent"
        )
        spec = _styled(chart.properties(title=alt.TitleParams(self.title, fontSize=16, offset=18)))
        svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        return {"svg": svg.encode(), "png": vl_convert.svg_to_png(svg, scale=2)}


def unvalidated() -> AbstractContextManager[None]:
    """Return a context without validation by Vega-Lite's schema, which takes half of the time. The tests validate."""
    return debug_mode(False)


def _styled(chart: alt.TopLevelMixin) -> dict[str, Any]:
    spec: dict[str, Any] = _clean(chart.to_dict(validate=False))
    return {**spec, "config": _CONFIG}


def _clean(value: Any) -> Any:
    """Return a specification with clean texts: an SVG image is XML, which allows no control characters."""
    match value:
        case str():
            return clean(value)
        case dict():
            return {key: _clean(inner) for key, inner in value.items()}
        case list():
            return [_clean(inner) for inner in value]
        case _:
            return value
