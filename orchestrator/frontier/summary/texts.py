"""Numbers, spreads and names as text, in the same form wherever they are shown."""

from orchestrator.frontier.bootstrap import Interval
from orchestrator.frontier.crossings import UNEXPOSED
from orchestrator.frontier.frontier import Frontier
from orchestrator.frontier.spreads import Spread
from orchestrator.ledger import unit

DISTRIBUTION_NAMES = {"in": "in-distribution", "out": "out-of-distribution"}
MEASURE_NAMES = {"gen_ex_abs": "|GenEx|", "gen_ex": "GenEx", "rel_ex": "RelEx"}
"""Names of measures of exposure for readers."""


def quality_name(frontier: Frontier) -> str:
    """Return the name of what unlearning quality is the mean of, over the examples of the forget set."""
    return MEASURE_NAMES["gen_ex_abs"] if frontier.measure == "gen_ex" else f"|RelEx - {UNEXPOSED['rel_ex']:.2f}|"


def number_text(value: float | None, digits: int, *, sign: bool = False, significant: bool = False) -> str:
    """Return a number as text, or ``-`` for one that was not measured.

    Args:
        value: the number.
        digits: digits after the point.
        sign: whether a positive number has its sign.
        significant: whether ``digits`` counts significant digits instead.
    """
    if value is None:
        return "-"
    return f"{value:{'+' if sign else ''}.{digits}{'g' if significant else 'f'}}"


def spread_text(spread: Spread | None, digits: int, *, sign: bool = False, significant: bool = False) -> str:
    """Return a mean and its range as text, such as ``1.10 (1.00 to 1.20)``; the arguments are ``number_text``'s."""
    if spread is None:
        return "-"
    ends = [number_text(value, digits, significant=significant) for value in (spread.low, spread.high)]
    width = f" ({ends[0]} to {ends[1]})" if spread.models > 1 and ends[0] != ends[1] else ""
    return f"{number_text(spread.mean, digits, sign=sign, significant=significant)}{width}"


def interval_text(interval: Interval, digits: int) -> str:
    """Return the ends of an interval as text, such as ``(1.00-1.20)``."""
    return f"({interval.low:.{digits}f}-{interval.high:.{digits}f})"


def measured_text(value: float, column: str) -> str:
    """Return a number of a column as text, with its unit."""
    digits = 2 if unit(column) == "bits" else 3
    return f"{value:.{digits}f} {unit(column) or column}"
