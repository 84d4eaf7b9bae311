"""What frontiers say, in words and rows: shared by the terminal's tables and the report, which only format it."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.bootstrap import Interval
from orchestrator.frontier import UNEXPOSED, Crossing, Frontier, Row
from orchestrator.schema import unit

DISTRIBUTIONS = {"in": "in-distribution", "out": "out-of-distribution"}
PRICES = {
    "gen_ex": "the price of mean GenEx 0, as likely as under the reference models",
    "rel_ex": f"the price of mean RelEx {UNEXPOSED['rel_ex']:.2f}, ranked as never-trained examples are",
}
POINTS_SHOWN = 12
"""Frontier points of a forget set in a table; ``frontier --json`` has all."""
FEW_SEEDS = 5
"""Fewer seeds than these, and a bootstrap interval over them is hardly more than their range."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What it takes to end one measure of a forget set's exposure."""

    forget_set: str
    reached: int
    """Trials that end it."""
    trials: int
    exposed: bool
    """Whether the base model was exposed by this measure; where it was not measured it is taken to be."""
    cheapest: Crossing | None
    median_steps: str
    """Median steps until it ends and their interval, by method; ``-`` where no trial ends it."""

    @property
    def reached_by(self) -> str:
        """Say how many trials end it, or that there was nothing to end."""
        return f"{self.reached} of {self.trials}" if self.exposed else "was not exposed"


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
            exposed=frontier.base is None
            or frontier.base[measure] is None
            or frontier.base[measure] > UNEXPOSED[measure],
            cheapest=next(iter(frontier.crossings[measure]), None),
            median_steps=", ".join(
                f"{name} {steps:.0f}{_range(frontier.steps_intervals[measure][name], 0)}"
                for name, steps in frontier.steps_to_unlearn(measure).items()
            )
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


def interval_note(frontiers: Sequence[Frontier]) -> str:
    """Say what the ranges in brackets are, or why there are none. No candidate: nothing."""
    if not any(frontier.points for frontier in frontiers):
        return ""
    interval = next((f.hypervolume_by_seed for f in frontiers if f.hypervolume_by_seed is not None), None)
    if interval is None:
        return "one seed: no intervals"
    few = "; so few seeds give little more than their range" if interval.seeds < FEW_SEEDS else ""
    return (
        f"in brackets (none: one seed): {interval.level:.0%} bootstrap intervals over {interval.seeds} seeds, "
        f"{interval.resamples} resamples{few}"
    )


def frontier_notes(frontier: Frontier) -> list[str]:
    """Say what a frontier rests on: evaluations, hypervolume, knee, where base and reference models stand."""
    lines = [f"from {frontier.evaluations} evaluations of {frontier.trials} trials"]
    x, y = frontier.objectives
    if frontier.reference_point is not None:
        origin = ", ".join(dict.fromkeys(frontier.reference_origin))
        corner = f"({_measured(frontier.reference_point[0], x)}, {_measured(frontier.reference_point[1], y)})"
        product = " x ".join(unit(name) or name for name in frontier.objectives)
        lines.append(f"hypervolume {frontier.hypervolume:.2f} {product} below {corner}: {origin}")
    if frontier.hypervolume_by_seed is not None:
        interval = frontier.hypervolume_by_seed
        lines[-1] += f"; of one seed on average {interval.estimate:.2f}{_range(interval, 2)}"
    if frontier.knee is not None:
        row = frontier.knee
        lines.append(
            f"knee: {row['trial_id'][:8]} at step {row['step']}, {_measured(row[x], x)}, {_measured(row[y], y)}"
        )
    if frontier.base is not None:
        references = ", ".join(f"{row['performance']:.3f}" for row in frontier.references) or "none"
        lines.append(
            f"base model: |GenEx| {number(frontier.base['gen_ex_abs'], 2)} bits, "
            f"RelEx {frontier.base['rel_ex']:.2f} bits, held-out NLL "
            f"{frontier.base['performance']:.3f}; reference models' held-out NLL: {references}"
        )
    if frontier.base is not None and frontier.copying is not None:
        lines.append(
            f"base model: BLEU {frontier.base['bleu']:.1f}, chrF {frontier.base['chrf']:.1f}; copying the sources: "
            f"BLEU {frontier.copying['bleu']:.1f}, chrF {frontier.copying['chrf']:.1f}"
        )
    return lines


def points_shown(frontier: Frontier, most: int = POINTS_SHOWN) -> list[Row]:
    """Keep at most ``most`` points of a frontier, both ends among them."""
    points = frontier.points
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def points_title(frontier: Frontier, most: int = POINTS_SHOWN) -> str:
    """Name a table of ``points_shown``."""
    shown, count = len(points_shown(frontier, most)), len(frontier.points)
    share = f"{shown} of {count}" if shown < count else str(count)
    return f"{frontier.forget_set} ({DISTRIBUTIONS[frontier.distribution]}): {share} Pareto points"


def ends(rows: Sequence[Row], most: int) -> list[Row]:
    """Keep ``most`` rows of each end."""
    return list(rows) if len(rows) <= 2 * most else [*rows[:most], *rows[-most:]]


def lost(row: Row, frontier: Frontier) -> float | None:
    """Give the performance lost against the base model, nats per token; None where the base was not measured."""
    performance: float = row["performance"]
    return None if frontier.base is None else performance - frontier.base["performance"]


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """Write a number, or ``-`` for what was not measured."""
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _range(interval: Interval | None, digits: int) -> str:
    return "" if interval is None else f" ({interval.low:.{digits}f}-{interval.high:.{digits}f})"


def _measured(value: float, column: str) -> str:
    digits = 2 if unit(column) == "bits" else 3
    return f"{value:.{digits}f} {unit(column) or column}"
