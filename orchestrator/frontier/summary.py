"""What frontiers say, in words and rows: shared by the terminal's tables and the report, which only format it."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.frontier.bootstrap import Interval
from orchestrator.frontier.crossings import price_lost, settings_of
from orchestrator.frontier.objectives import label_of
from orchestrator.frontier.setting_labels import SettingNames
from orchestrator.frontier.sweep_frontiers import UNEXPOSED, Frontier, Level, Row, SettingCrossing
from orchestrator.ledger import OWN_KIND, unit

DISTRIBUTIONS = {"in": "in-distribution", "out": "out-of-distribution"}
PRICE_TITLES = {
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
    best: SettingCrossing | None
    """The setting that ends it at the least held-out performance lost, over its seeds; None: no trial ends it."""

    @property
    def reached_by(self) -> str:
        """Say how many trials end it, or that there was nothing to end."""
        return f"{self.reached} of {self.trials}" if self.exposed else "was not exposed"

    @property
    def seeds(self) -> str:
        """Say how many trials of the best setting end it: the price is their mean."""
        return "-" if self.best is None else f"{self.best.reached} of {self.best.trials}"


@dataclass(frozen=True, kw_only=True)
class ExposureNote:
    """Whether the forget sets were equally exposed before unlearning: comparing their prices rests on it."""

    text: str
    matched: bool


def measures(frontiers: Sequence[Frontier]) -> list[str]:
    """List the measures of exposure that a price is known of: those that were measured, of any forget set."""
    return [name for name in PRICE_TITLES if any(name in frontier.measures for frontier in frontiers)]


def prices(frontiers: Sequence[Frontier], measure: str) -> list[Price]:
    """List what ending ``measure`` (``gen_ex`` or ``rel_ex``) takes, by forget set."""
    return [
        Price(
            forget_set=frontier.forget_set,
            reached=len(frontier.crossings[measure]),
            trials=frontier.trials,
            exposed=_exposed(frontier, measure),
            best=frontier.price(measure),
        )
        for frontier in frontiers
    ]


def _exposed(frontier: Frontier, measure: str) -> bool:
    start = None if frontier.base is None else frontier.base[measure]
    return start is None or start > UNEXPOSED[measure]


def setting_names(frontiers: Sequence[Frontier]) -> SettingNames:
    """Return the short names of all settings of these frontiers."""
    return SettingNames(
        name
        for frontier in frontiers
        for name in (
            *(own.settings for own in frontier.by_setting[frontier.measure]),
            *(settings_of(row) for row in frontier.points),
        )
    )


def exposure_notes(frontiers: Sequence[Frontier]) -> list[ExposureNote]:
    """Compare the base model's exposure of the forget sets, by each measure that two of them have. None: nothing."""
    bases = {f.forget_set: f.base for f in frontiers if f.base is not None}
    if len(bases) < 2:
        return []
    notes = []
    for column, what in (("gen_ex_per_token", "GenEx, bits/token"), ("rel_ex", "RelEx, bits")):
        values = {name: base[column] for name, base in bases.items() if base[column] is not None}
        if len(values) < 2:
            continue
        matched = 0 < max(values.values()) <= 1.1 * min(values.values())
        listed = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        verdict = "matched within 10%" if matched else "NOT matched: compare prices with care"
        notes.append(ExposureNote(text=f"exposure of the base model, {what}: {listed} ({verdict})", matched=matched))
    return notes


def answer(frontiers: Sequence[Frontier]) -> str:
    """Answer in one sentence what unlearning costs, as far as the sweep has come."""
    if not any(frontier.points for frontier in frontiers):
        return "What unlearning costs is not known yet: there is no completed evaluation."
    measure = "gen_ex" if any(frontier.measure == "gen_ex" for frontier in frontiers) else "rel_ex"
    ideal = {
        "gen_ex": "mean GenEx 0: as likely as under models that never saw the data",
        "rel_ex": f"mean RelEx {UNEXPOSED['rel_ex']:.2f}: ranked as never-trained examples are",
    }[measure]
    parts = "; ".join(f"for {frontier.forget_set} {_answer_of(frontier)}" for frontier in frontiers)
    return f"Ending the exposure ({ideal}) costs, by the best setting that was run: {parts}."


def _answer_of(frontier: Frontier) -> str:
    best = frontier.price(frontier.measure)
    if best is not None and best.steps is not None:
        costs = {
            "performance": "on held-out data",
            "population_nll": "on never-trained data of its own kind",
            "distractor_nll": "on retained data of its own kind",
        }
        known = [
            f"{level.mean:+.2g} {where}" for name, where in costs.items() if (level := best.lost[name]) is not None
        ]
        if known:
            known[0] = known[0].replace(" ", " nats/token ", 1)
            return f"{', '.join(known)}, at step {best.steps.mean:.0f}"
        return f"{best.steps.mean:.0f} steps, at a held-out NLL of {number(_mean(best.performance), 3)} nats/token"
    if not _exposed(frontier, frontier.measure):
        return "nothing, since it was not exposed"
    if not frontier.points:
        return "what is not known yet"
    reached = [row["unlearning_quality"] for row in frontier.points if row["unlearning_quality"] is not None]
    start = None if frontier.base is None else frontier.base["unlearning_quality"]
    of = "" if start is None else f" of {start:.1f}"
    left = f": at best {min(reached):.1f}{of} bits of {quality_name(frontier)} are left" if reached else ""
    return f"more than was tried, since no trial gets there without collapsing{left}"


def _mean(level: Level | None) -> float | None:
    return None if level is None else level.mean


def definitions(frontiers: Sequence[Frontier]) -> dict[str, str]:
    """Define the measures that are shown of these frontiers, by name, for readers who do not know them."""
    theory = f"{UNEXPOSED['rel_ex']:.2f}"
    found = {}
    if any(frontier.measure == "gen_ex" for frontier in frontiers):
        found["GenEx"] = (
            "generalized exposure of an example, in bits: log2 of how many times likelier the model finds it than the "
            "reference models do, which never saw it. 0 is as if never trained, less is over-unlearned. In its mean, "
            "examples above and below 0 cancel; in the mean of |GenEx| they do not."
        )
    found["RelEx"] = (
        f"relative exposure of an example, in bits: log2 of the size of a never-trained population less log2 of the "
        f"example's rank in it. {theory} bits are expected of an example that was never trained."
    )
    quality = "mean |GenEx|" if "GenEx" in found else f"mean |RelEx - {theory}|"
    found["Frontier"] = f"{quality}, which is unlearning quality, against held-out NLL, at evaluated steps; both low."
    found["Price, lost"] = (
        "negative log-likelihood above the base model's, in nats per token, where the mean exposure has just ended, "
        "interpolated between evaluated steps; mean over the seeds of one setting. On held-out data of the training "
        "distribution"
    )
    if own_kind_measured(frontiers):
        found["Price, lost"] += ", and on data of the forget set's own kind: never trained (its population)"
        if "distractor_nll" in own_kind_measured(frontiers):
            found["Price, lost"] += ", and retained (its distractors)"
    found["Price, lost"] += "."
    if any(frontier.references for frontier in frontiers):
        found["Floor"] = (
            "what the reference models have themselves, each measured against the others: no model is expected below."
        )
    return found


def interval_note(frontiers: Sequence[Frontier]) -> str:
    """Say what the interval of the hypervolume is, or why there is none. No candidate: nothing."""
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
        f"in brackets of one seed's hypervolume: {interval.level:.0%} bootstrap interval over {interval.seeds} seeds, "
        f"{interval.resamples} resamples{few}{f'; {reason}' if agreeing else ''}"
    )


def quality_name(frontier: Frontier) -> str:
    """Name what unlearning quality is the mean of, over the examples of the forget set."""
    return NAMES["gen_ex_abs"] if frontier.measure == "gen_ex" else f"|RelEx - {UNEXPOSED['rel_ex']:.2f}|"


def price_note(frontiers: Sequence[Frontier], measure: str) -> str:
    """Say what a price is, beside points of a frontier that are something else. No trial ends the exposure: nothing."""
    priced = [frontier for frontier in frontiers if frontier.price(measure)]
    if not priced:
        return ""
    quality = quality_name(priced[0])
    return (
        f"a price is read where the signed mean of {NAMES[measure]} over the examples comes down to "
        f"{UNEXPOSED[measure]:.3g}, between two evaluated steps, as the mean over the seeds of the setting that loses "
        f"least on held-out data. Examples above and below cancel in that mean, but not in the mean {quality} at "
        f"evaluated steps that the frontiers show: the column '{quality}' says what it is there"
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
    for what, row in (("knee (k)", frontier.knee), ("step nearest to the price (p)", frontier.priced)):
        if row is not None:
            place = f"{row['trial_id'][:8]} at step {row['step']}, {_measured(row[x], x)}, {_measured(row[y], y)}"
            lines.append(f"{what}: {place}")
    if frontier.priced is not None:
        lines[-1] += f"; mean {NAMES[frontier.measure]} {frontier.priced[frontier.measure]:+.2f} bits"
    if floor := floor_note(frontier):
        lines.append(floor)
    if frontier.base is not None:
        base = frontier.base
        exposures = {"gen_ex_abs": NAMES["gen_ex_abs"], "rel_ex": NAMES["rel_ex"]}
        facts = [f"{shown} {base[name]:.2f} bits" for name, shown in exposures.items() if base[name] is not None]
        facts.append(f"held-out NLL {number(base['performance'], 3)}{_own_kind(base)}")
        lines.append(f"base model: {', '.join(facts)}")
        if frontier.references:
            references = ", ".join(number(row["performance"], 3) for row in frontier.references)
            lines[-1] += f"; reference models' held-out NLL: {references}"
    if frontier.base is not None and frontier.copying is not None:
        lines.append(
            f"base model: BLEU {frontier.base['bleu']:.1f}, chrF {frontier.base['chrf']:.1f}; copying the sources: "
            f"BLEU {frontier.copying['bleu']:.1f}, chrF {frontier.copying['chrf']:.1f}"
        )
    return lines


def points_shown(frontier: Frontier, most: int = POINTS_SHOWN) -> list[Row]:
    """Keep at most ``most`` points of a frontier, its ends, knee and priced point among them, the least exposed first.

    The priced point is shown too where it is no point of the frontier, as one more.
    """
    points = list(frontier.points)
    wanted = [index for index, row in enumerate(points) if is_same(row, frontier.knee) or is_same(row, frontier.priced)]
    if len(points) > most:
        kept = {round(index * (len(points) - 1) / (most - 1)) for index in range(most)}
        fixed = {0, len(points) - 1, *wanted}
        for index in wanted:
            if index not in kept:
                kept.remove(min(kept - fixed, key=lambda other: (abs(other - index), other)))
                kept.add(index)
        points = [points[index] for index in sorted(kept)]
    if frontier.priced is not None and not any(is_same(row, frontier.priced) for row in points):
        points = sorted([*points, frontier.priced], key=lambda row: _first_objective(frontier, row))
    return points


def _first_objective(frontier: Frontier, row: Row) -> float:
    value = frontier.minimised(row)[0]
    return float("inf") if value is None else value


def is_same(row: Row, other: Row | None) -> bool:
    """Tell whether two rows are one evaluation."""
    return other is not None and (row["trial_id"], row["step"]) == (other["trial_id"], other["step"])


def marks(frontier: Frontier, row: Row) -> str:
    """Return the letters that tables mark a point by: k, the knee; p, the evaluated step nearest to the price."""
    letters = {"k": frontier.knee, "p": frontier.priced}
    return "".join(letter for letter, marked in letters.items() if is_same(row, marked))


def points_title(frontier: Frontier, most: int = POINTS_SHOWN) -> str:
    """Name a table of ``points_shown``."""
    pareto = {(row["trial_id"], row["step"]) for row in frontier.points}
    rows = points_shown(frontier, most)
    shown, count = sum((row["trial_id"], row["step"]) in pareto for row in rows), len(pareto)
    share = f"{shown} of {count}" if shown < count else str(count)
    extra = ", and the one nearest to the price" if shown < len(rows) else ""
    return f"{frontier.forget_set} ({DISTRIBUTIONS[frontier.distribution]}): {share} Pareto points{extra}"


def ends(rows: Sequence[Row], most: int) -> list[Row]:
    """Keep ``most`` rows of each end."""
    return list(rows) if len(rows) <= 2 * most else [*rows[:most], *rows[-most:]]


def lost(row: Row, frontier: Frontier, column: str = "performance") -> float | None:
    """Return what of a price is lost against the base model, nats per token; None where either was not measured."""
    return price_lost(row.get(column), frontier.base, column)


def level_text(level: Level | None, digits: int, *, sign: bool = False) -> str:
    """Write a mean over seeds and its range, or ``-`` for what was not measured."""
    if level is None:
        return "-"
    ends = [number(value, digits) for value in (level.low, level.high)]
    spread = f" ({ends[0]} to {ends[1]})" if level.models > 1 and ends[0] != ends[1] else ""
    return f"{number(level.mean, digits, sign=sign)}{spread}"


def own_kind_measured(frontiers: Sequence[Frontier]) -> list[str]:
    """List which prices on data of the forget sets' own kind are known of any of them."""
    return [name for name in OWN_KIND if any(f.base is not None and f.base.get(name) is not None for f in frontiers)]


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """Write a number, or ``-`` for what was not measured."""
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _level(level: Level) -> str:
    return level_text(level, 2)


def _own_kind(base: Row) -> str:
    names = {"population_nll": "never trained", "distractor_nll": "retained"}
    known = [f"{base[name]:.3f} {what}" for name, what in names.items() if base.get(name) is not None]
    return f", on its own kind {' and '.join(known)}" if known else ""


def _range(interval: Interval | None, digits: int) -> str:
    return "" if interval is None else f" ({interval.low:.{digits}f}-{interval.high:.{digits}f})"


def _measured(value: float, column: str) -> str:
    digits = 2 if unit(column) == "bits" else 3
    return f"{value:.{digits}f} {unit(column) or column}"
