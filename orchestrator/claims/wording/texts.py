"""Numbers, names and rows of claims as text, in the same form wherever they are shown."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.claims.deciding import Decision
from orchestrator.claims.describing.matching import MEASURE_NAMES
from orchestrator.claims.intervals import Estimate

Item = TypeVar("Item")
Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table of text."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def verdict_row(own: Decision) -> list[str]:
    """Return the cells of a decision: letter, finding, effect, interval, p, verdict. One under a condition says why
    nothing is decided; of the others, notes do."""
    interval = own.interval
    ends = "-" if interval is None else " to ".join(_effect_number(end, own) for end in interval)
    why = f": {own.brief}" if own.brief and own.condition is not None else ""
    cells = [effect_text(own), ends, p_text(own.corrected_p), f"{own.verdict.value}{why}"]
    return [own.finding.letter, own.finding.claim, *cells]


def effect_text(own: Decision) -> str:
    """Return an effect as it is shown."""
    return _effect_number(own.mean, own)


def level_text(own: Decision) -> str:
    """Return the level of the condition of a decision."""
    assert own.condition is not None
    return MEASURE_NAMES.get(own.condition[1], own.condition[1])


def p_text(value: float | None) -> str:
    """Return a p value; ``-``: there is none."""
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else "<.001"


def number_text(value: float | None) -> str:
    """Return a number of steps; ``-``: it is not known."""
    return "-" if value is None else f"{value:.1f}"


def estimate_text(own: Estimate) -> str:
    """Return a mean with its interval, where there is one."""
    ends = "" if own.low is None or own.high is None else f" ({own.low:.2f} to {own.high:.2f})"
    return f"{own.mean:.2f}{ends}"


def many(count: int, what: str) -> str:
    """Return a count of things."""
    return f"{count} {what}{'s' * (count != 1)}"


def names_of(decisions: Sequence[Decision], every: Sequence[Decision] = ()) -> str:
    """Return the names of findings; of a letter whose findings are all there, the letter alone."""
    names = []
    for letter, group in grouped(decisions, lambda own: own.finding.letter):
        whole = len(group) == len([own for own in every if own.finding.letter == letter])
        names += [letter] if whole else [f"{letter} ({own.finding.claim})" for own in group]
    return ", ".join(names)


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> list[tuple[Key, list[Item]]]:
    """Return items by key, both in the order in which they first come."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.items())


def _effect_number(value: float, own: Decision) -> str:
    return f"{value:.2f}" if own.finding.is_ratio else f"{value:+.3f}" if abs(value) >= 0.01 else f"{value:+.1g}"
