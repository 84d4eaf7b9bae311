"""What frontiers say, in words and rows: shared by the terminal's tables and the report, which only format it."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.frontier import UNEXPOSED, Crossing, Frontier, Row

DISTRIBUTIONS = {"in": "in-distribution", "out": "out-of-distribution"}
PRICES = {
    "gen_ex": "the price of mean GenEx 0, as likely as under the reference models",
    "rel_ex": f"the price of mean RelEx {UNEXPOSED['rel_ex']:.2f}, ranked as never-trained examples are",
}
POINTS_SHOWN = 12
"""Frontier points of a forget set in a table; ``frontier --json`` has all."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What it takes to end one measure of a forget set's exposure."""

    forget_set: str
    reached: int
    """Trials that end it."""
    trials: int
    cheapest: Crossing | None
    median_steps: str
    """Median steps until it ends, by optimizer; ``-`` where no trial ends it."""


@dataclass(frozen=True, kw_only=True)
class ExposureNote:
    """Whether the forget sets were equally exposed before unlearning: comparing their prices rests on it."""

    text: str
    matched: bool


def prices(frontiers: Sequence[Frontier], measure: str) -> list[Price]:
    """List what ending ``measure`` (``gen_ex`` or ``rel_ex``) takes, by forget set."""
    return [
        Price(
            forget_set=frontier.forget_set,
            reached=len(frontier.crossings[measure]),
            trials=frontier.trials,
            cheapest=next(iter(frontier.crossings[measure]), None),
            median_steps=", ".join(f"{name} {steps:.0f}" for name, steps in frontier.steps_to_unlearn(measure).items())
            or "-",
        )
        for frontier in frontiers
    ]


def exposure_notes(frontiers: Sequence[Frontier]) -> list[ExposureNote]:
    """Compare the base model's exposure of the forget sets, by each measure. Nothing to compare: nothing."""
    bases = {f.forget_set: f.base for f in frontiers if f.base is not None}
    if len(bases) < 2:
        return []
    notes = []
    for column, what in (("gen_ex_per_token", "GenEx, bits/token"), ("rel_ex", "RelEx, bits")):
        values = {name: base[column] for name, base in bases.items() if base[column] is not None}
        matched = len(values) > 1 and 0 < max(values.values()) <= 1.1 * min(values.values())
        listed = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        verdict = "matched within 10%" if matched else "NOT matched: compare prices with care"
        notes.append(ExposureNote(text=f"exposure of the base model, {what}: {listed} ({verdict})", matched=matched))
    return notes


def frontier_notes(frontier: Frontier) -> list[str]:
    """Say what a frontier rests on: how many evaluations, what its hypervolume is, where base and references stand."""
    lines = [f"from {frontier.evaluations} evaluations of {frontier.trials} trials"]
    if frontier.reference_point is not None:
        quality, performance = frontier.reference_point
        lines.append(
            f"hypervolume {frontier.hypervolume:.2f} bits x nats/token below "
            f"({quality:.2f} bits, {performance:.3f} nats/token): no unlearning, performance at the floor"
        )
    if frontier.base is not None:
        references = ", ".join(f"{row['performance']:.3f}" for row in frontier.references) or "none"
        lines.append(
            f"base model: |GenEx| {number(frontier.base['gen_ex_abs'], 2)} bits, "
            f"RelEx {frontier.base['rel_ex']:.2f} bits, held-out NLL "
            f"{frontier.base['performance']:.3f}; reference models' held-out NLL: {references}"
        )
    return lines


def points_shown(frontier: Frontier) -> list[Row]:
    """Keep at most ``POINTS_SHOWN`` points of a frontier, both ends among them."""
    points = frontier.points
    if len(points) <= POINTS_SHOWN:
        return list(points)
    return [points[round(i * (len(points) - 1) / (POINTS_SHOWN - 1))] for i in range(POINTS_SHOWN)]


def points_title(frontier: Frontier) -> str:
    """Name a table of ``points_shown``."""
    shown, count = len(points_shown(frontier)), len(frontier.points)
    share = f"{shown} of {count}" if shown < count else str(count)
    return f"{frontier.forget_set} ({DISTRIBUTIONS[frontier.distribution]}): {share} Pareto points"


def lost(row: Row, frontier: Frontier) -> float | None:
    """Give the performance lost against the base model, nats per token; None where the base was not measured."""
    performance: float = row["performance"]
    return None if frontier.base is None else performance - frontier.base["performance"]


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """Write a number, or ``-`` for what was not measured."""
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
