"""What frontiers say, in words and rows: shared by the terminal's tables and the report, which only format it."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.bootstrap import Interval
from orchestrator.crossings import price_lost
from orchestrator.frontier import UNEXPOSED, Crossing, Frontier, Level, Row
from orchestrator.frontier_objectives import label_of
from orchestrator.schema import OWN_KIND, unit

DISTRIBUTIONS = {"in": "in-distribution", "out": "out-of-distribution"}
PRICES = {
    "gen_ex": "the price of mean GenEx 0, as likely as under the reference models",
    "rel_ex": (
        f"the price of mean RelEx {UNEXPOSED['rel_ex']:.2f}, ranked as never-trained examples are in a large population"
    ),
}
NAMES = {"gen_ex_abs": "|GenEx|", "gen_ex": "GenEx", "rel_ex": "RelEx"}
"""What readers know measures of exposure by."""
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
    measured: bool
    """Whether it was measured: exposure against reference models is not where there are none."""
    cheapest: Crossing | None
    median_steps: str
    """Median steps until it ends and their interval, by method; ``-`` where no trial ends it."""

    @property
    def reached_by(self) -> str:
        """Say how many trials end it, or that there was nothing to end, or nothing known of it."""
        if not self.measured and not self.reached:
            return "not measured"
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
            measured=frontier.base is None or frontier.base[measure] is not None,
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
    agreeing = [frontier.forget_set for frontier in frontiers if frontier.seeds_agree]
    reason = (
        f"the seeds of {', '.join(agreeing)} give the same numbers but for rounding, as where a batch holds the whole "
        f"forget set: they are one run, several times, and tell of no spread"
    )
    if interval is None:
        several = any(frontier.seeds > 1 for frontier in frontiers)
        return f"no intervals: {reason}" if agreeing else "no intervals" if several else "one seed: no intervals"
    few = "; so few seeds give little more than their range" if interval.seeds < FEW_SEEDS else ""
    return (
        f"in brackets (none: one seed): {interval.level:.0%} bootstrap intervals over {interval.seeds} seeds, "
        f"{interval.resamples} resamples{few}{f'; {reason}' if agreeing else ''}"
    )


def floor_note(frontier: Frontier) -> str:
    """Say what the reference models show, and its spread, or why that is not known. Without such models: nothing."""
    if not frontier.references:
        return ""
    found = [f"{NAMES[name]} {_level(frontier.floor[name])} bits" for name in NAMES if name in frontier.floor]
    text = f"floor: the reference models, mean and range: {', '.join(found)} ({UNEXPOSED['rel_ex']:.2f} in theory)"
    if "gen_ex" in frontier.floor:
        if frontier.floor["gen_ex"].models == 2:
            return f"{text}; GenEx of each against the other: one number, which shows no spread"
        return f"{text}; GenEx of each against the others"
    reason = (
        "there is one only, and none to measure it against"
        if len(frontier.references) == 1
        else "an older version measured each against a mean that it was part of; the next run that goes on with the "
        "sweep measures it"
    )
    return f"{text}; of GenEx not known: {reason}"


def level_note(frontiers: Sequence[Frontier], measure: str) -> str:
    """Say what the reference models themselves have of a mean exposure, by forget set. Not known: nothing."""
    levels = {f.forget_set: f.floor[measure] for f in frontiers if measure in f.floor}
    listed = ", ".join(f"{name} {_level(level)}" for name, level in levels.items())
    how = ", each against the others" if measure.startswith("gen_ex") else ""
    return f"mean {NAMES[measure]} of the reference models themselves{how}, bits: {listed}" if listed else ""


def target_note(frontier: Frontier) -> str:
    """Say of targets that are below the floor that they are. None is: nothing."""
    if not any(target.below_floor for target in frontier.targets):
        return ""
    return f"* below the floor: the reference models have {frontier.exposure_floor:.2f} on average"


def frontier_notes(frontier: Frontier) -> list[str]:
    """Say what a frontier rests on: evaluations, hypervolume, knee, where base and reference models stand."""
    lines = [f"from {frontier.evaluations} evaluations of {frontier.trials} trials"]
    x, y = frontier.objectives
    if frontier.reference_point is not None:
        origin = ", ".join(dict.fromkeys(frontier.reference_origin))
        corner = f"({_measured(frontier.reference_point[0], x)}, {_measured(frontier.reference_point[1], y)})"
        product = " x ".join(unit(name) or name for name in frontier.objectives)
        lines.append(f"hypervolume {frontier.hypervolume:.2f} {product} below {corner}: {origin}")
        distances = [label_of(x, [frontier.levels[0]]), label_of(y, [frontier.levels[1]])]
        if distances != [x, y]:
            lines[-1] += f"; minimised: {' and '.join(distances)}"
    if frontier.hypervolume_by_seed is not None:
        interval = frontier.hypervolume_by_seed
        lines[-1] += f"; of one seed on average {interval.estimate:.2f}{_range(interval, 2)}"
    if frontier.knee is not None:
        row = frontier.knee
        lines.append(
            f"knee: {row['trial_id'][:8]} at step {row['step']}, {_measured(row[x], x)}, {_measured(row[y], y)}"
        )
    if floor := floor_note(frontier):
        lines.append(floor)
    if frontier.base is not None:
        base, references = frontier.base, ", ".join(number(row["performance"], 3) for row in frontier.references)
        lines.append(
            f"base model: |GenEx| {number(base['gen_ex_abs'], 2)} bits, RelEx {number(base['rel_ex'], 2)} bits, "
            f"held-out NLL {number(base['performance'], 3)}{_own_kind(base)}; reference models' held-out NLL: "
            f"{references or 'none'}"
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


def lost(row: Row, frontier: Frontier, column: str = "performance") -> float | None:
    """Return what of a price is lost against the base model, nats per token; None where either was not measured."""
    return price_lost(row.get(column), frontier.base, column)


def cost_of(crossing: Crossing | None, column: str) -> float | None:
    """Return what a crossing costs in one of the prices; None where there is no crossing, or it was not measured."""
    if crossing is None:
        return None
    return {
        "performance": crossing.cost,
        "population_nll": crossing.population_cost,
        "distractor_nll": crossing.distractor_cost,
    }[column]


def own_kind_measured(frontiers: Sequence[Frontier]) -> list[str]:
    """List which prices on data of the forget sets' own kind are known of any of them."""
    return [name for name in OWN_KIND if any(f.base is not None and f.base.get(name) is not None for f in frontiers)]


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """Write a number, or ``-`` for what was not measured."""
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _level(level: Level) -> str:
    spread = f" ({level.low:.2f} to {level.high:.2f})" if level.models > 1 else ""
    return f"{level.mean:.2f}{spread}"


def _own_kind(base: Row) -> str:
    names = {"population_nll": "never trained", "distractor_nll": "retained"}
    known = [f"{base[name]:.3f} {what}" for name, what in names.items() if base.get(name) is not None]
    return f", on its own kind {' and '.join(known)}" if known else ""


def _range(interval: Interval | None, digits: int) -> str:
    return "" if interval is None else f" ({interval.low:.{digits}f}-{interval.high:.{digits}f})"


def _measured(value: float, column: str) -> str:
    digits = 2 if unit(column) == "bits" else 3
    return f"{value:.{digits}f} {unit(column) or column}"
