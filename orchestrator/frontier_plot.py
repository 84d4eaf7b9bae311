"""Frontiers as a scatter of characters, 80 columns wide: plain text, the same in a pipe as on a terminal."""

from collections import Counter
from collections.abc import Sequence

import plotext

from orchestrator.frontier import Frontier
from orchestrator.plain import one_line
from orchestrator.schema import unit
from orchestrator.summary import DISTRIBUTIONS

WIDTH, HEIGHT = 79, 13
MARKERS = {"in": "oabcde", "out": "x*+#%@"}
"""One character a forget set, by distribution, in turn."""


def frontier_plot(frontiers: Sequence[Frontier]) -> str:
    """Draw the points of every frontier over the two objectives, under what they are and which marker is whose."""
    drawn = [frontier for frontier in frontiers if frontier.points]
    if not drawn:
        return "nothing to plot: no frontier has a point yet"
    figure = plotext.figure
    figure.clear()
    plotext.terminal.limit(False, False)
    figure.plot_size(WIDTH, HEIGHT)
    figure.theme("colorless")
    legend = []
    before: Counter[str] = Counter()
    x, y = drawn[0].objectives
    for frontier in drawn:
        markers = MARKERS[frontier.distribution]
        marker = markers[before[frontier.distribution] % len(markers)]
        before[frontier.distribution] += 1
        legend.append(f"{marker} {one_line(frontier.forget_set)} ({DISTRIBUTIONS[frontier.distribution]})")
        figure.draw(
            figure.signal([row[x] for row in frontier.points], [row[y] for row in frontier.points], marker=marker)
        )
    figure.label(_axis(x), "x")
    lines = figure.build().string(colorless=True).splitlines()
    heading = f"{_axis(y)}, against {_axis(x)}; lower is better"
    return "\n".join([heading, "   ".join(legend), *(line.rstrip() for line in lines)])


def _axis(column: str) -> str:
    return f"{column} [{unit(column)}]" if unit(column) else column
