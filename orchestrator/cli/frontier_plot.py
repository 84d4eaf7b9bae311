"""Frontiers as a scatter plot of characters, 80 columns wide: plain text, the same in a pipe as on a terminal."""

from collections import Counter
from collections.abc import Sequence
from textwrap import fill

import numpy as np
import plotext

from orchestrator.frontier import OBJECTIVES, UNEXPOSED, Frontier, label_of, summary
from orchestrator.ledger import MAXIMISED, unit
from orchestrator.safe_text import one_line

WIDTH, HEIGHT = 79, 13
MARKERS = {"in": "oabcde", "out": "x*+#%@"}
"""One character for each forget set in turn, by distribution."""
FLOOR_MARKERS = "|:!;"
"""One character for each forget set in turn, for the floor given by its reference models."""
PRICE_MARKERS = "PQRSTUVW"
"""One character for each forget set in turn, for its price."""


def frontier_plot(frontiers: Sequence[Frontier]) -> str:
    """Return a plot of the points of every frontier over the two objectives, below a heading and a legend.

    Prices are drawn over the default objectives only: they are not known for others.
    """
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
    points = [[frontier.shown(row) for row in frontier.points] for frontier in drawn]
    prices = [_price(frontier) for frontier in drawn]
    heights = [y for own in points for _, y in own if y is not None]
    heights += [place[1] for place in prices if place is not None]
    for index, frontier in enumerate(drawn):
        if frontier.exposure_floor is not None:
            marker = FLOOR_MARKERS[index % len(FLOOR_MARKERS)]
            legend.append(f"{marker} floor of {one_line(frontier.forget_set)}: its reference models' mean")
            rows = np.linspace(min(heights), max(heights), HEIGHT).tolist()
            figure.draw(figure.signal([frontier.exposure_floor] * HEIGHT, rows, marker=marker))
    floors, legend = legend, []
    for frontier, own in zip(drawn, points, strict=True):
        markers = MARKERS[frontier.distribution]
        marker = markers[before[frontier.distribution] % len(markers)]
        before[frontier.distribution] += 1
        legend.append(f"{marker} {one_line(frontier.forget_set)} ({summary.DISTRIBUTION_NAMES[frontier.distribution]})")
        figure.draw(figure.signal([x for x, _ in own], [y for _, y in own], marker=marker))
    for index, (frontier, place) in enumerate(zip(drawn, prices, strict=True)):
        if place is not None:
            marker = PRICE_MARKERS[index % len(PRICE_MARKERS)]
            level = f"mean {summary.MEASURE_NAMES[frontier.measure]} {UNEXPOSED[frontier.measure]:.3g}"
            floors.append(f"{marker} price of {one_line(frontier.forget_set)}: {level}, between evaluated steps")
            figure.draw(figure.signal([place[0]], [place[1]], marker=marker))
    x, y = (_axis(drawn, index) for index in (0, 1))
    figure.label(x, "x")
    lines = figure.build().string(colorless=True).splitlines()
    heading = f"{y}, against {x}; {_better(drawn[0].objectives)}"
    return "\n".join([fill(heading, WIDTH), "   ".join(legend), *floors, *(line.rstrip() for line in lines)])


def _price(frontier: Frontier) -> tuple[float, float] | None:
    """Return the coordinates of the price; None if there is none, or if the objectives are not the default ones."""
    best = frontier.price(frontier.measure)
    if frontier.objectives != OBJECTIVES or best is None or best.unlearning_quality is None or best.performance is None:
        return None
    return best.unlearning_quality.mean, best.performance.mean


def _better(objectives: tuple[str, str]) -> str:
    """Return which way the objectives are better."""
    higher = [name for name in objectives if name in MAXIMISED]
    if len(higher) == len(objectives):
        return "higher is better"
    return f"lower is better{f', of {higher[0]} higher' if higher else ''}"


def _axis(drawn: Sequence[Frontier], index: int) -> str:
    """Return the label of an axis, with its unit."""
    column = drawn[0].objectives[index]
    label = label_of(column, [frontier.levels[index] for frontier in drawn])
    return f"{label} [{unit(column)}]" if unit(column) else label
