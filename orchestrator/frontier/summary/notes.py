"""Notes below tables: what they rest on, and what readers must know to compare them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from orchestrator.frontier.crossings import UNEXPOSED
from orchestrator.frontier.frontier import Frontier
from orchestrator.frontier.matched import are_matched
from orchestrator.frontier.objectives import label_of
from orchestrator.frontier.spreads import Row, spread_of
from orchestrator.frontier.summary.texts import (
    MEASURE_NAMES,
    interval_text,
    measured_text,
    number_text,
    quality_name,
    spread_text,
)
from orchestrator.ledger import MAXIMISED, unit

FEW_SEEDS = 5
"""With fewer seeds, a bootstrap interval over them is hardly more than their range."""


@dataclass(frozen=True, kw_only=True)
class ExposureNote:
    """A note on whether the forget sets were equally exposed before unlearning: otherwise prices do not compare."""

    text: str
    matched: bool


def exposure_notes(frontiers: Sequence[Frontier]) -> list[ExposureNote]:
    """Return notes that compare the base model's exposure of the forget sets, by each measure that two sets have.

    Whole sets are compared with whole sets, and thirds with equal thirds.
    """
    groups: dict[str, list[Frontier]] = {}
    for own in frontiers:
        groups.setdefault(own.bucket, []).append(own)
    return [
        note
        for group, (column, what) in product(groups.values(), _EXPOSURES.items())
        if (note := _exposure_note(group, column, what)) is not None
    ]


_EXPOSURES = {"gen_ex": "GenEx, bits", "gen_ex_per_token": "GenEx, bits/token", "rel_ex": "RelEx, bits"}
"""Measures of exposure that sets are compared by, for readers."""


def _exposure_note(frontiers: Sequence[Frontier], column: str, what: str) -> ExposureNote | None:
    """Return whether the sets are alike by one measure; None: fewer than two have it."""
    values = {f.forget_set: f.base[column] for f in frontiers if f.base is not None and f.base[column] is not None}
    if len(values) < 2:
        return None
    within = frontiers[0].matched_within
    matched = are_matched(values.values(), within)
    listed = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
    verdict = f"matched within {within:.0%}" if matched else "NOT matched: compare prices with care"
    return ExposureNote(text=f"exposure of the base model, {what}: {listed} ({verdict})", matched=matched)


def interval_note(frontiers: Sequence[Frontier]) -> str:
    """Return what the interval of the hypervolume is, or why there is none; empty without a candidate."""
    if not any(frontier.points for frontier in frontiers):
        return ""
    interval = next((f.hypervolume_by_seed for f in frontiers if f.hypervolume_by_seed is not None), None)
    agreeing = [frontier.forget_set for frontier in frontiers if frontier.seeds_agree]
    reason = (
        f"the seeds of {', '.join(agreeing)} give the same numbers but for rounding, as where a batch holds the whole "
        f"forget set: they are one run, several times, and tell of no spread"
    )
    if interval is None:
        several = any(max(frontier.seeds, frontier.replicates) > 1 for frontier in frontiers)
        return f"no intervals: {reason}" if agreeing else "no intervals" if several else "one seed: no intervals"
    few = f"; so few {interval.over} give little more than their range" if interval.seeds < FEW_SEEDS else ""
    of_one = interval.over.removesuffix("s")
    return (
        f"in brackets of one {of_one}'s hypervolume: {interval.level:.0%} bootstrap interval over {interval.seeds} "
        f"{interval.over}, "
        f"{interval.resamples} resamples{few}{f'; {reason}' if agreeing else ''}"
    )


def averaged(frontiers: Sequence[Frontier]) -> str:
    """Return what the mean of a setting is over."""
    return "seeds and replicates" if any(frontier.replicates > 1 for frontier in frontiers) else "seeds"


def price_note(frontiers: Sequence[Frontier], measure: str) -> str:
    """Return what a price is, in contrast to points of a frontier; empty if no trial ends the exposure."""
    priced = [frontier for frontier in frontiers if frontier.price(measure)]
    if not priced:
        return ""
    quality = quality_name(priced[0])
    return (
        f"a price is read where the signed mean of {MEASURE_NAMES[measure]} over the examples comes down to "
        f"{UNEXPOSED[measure]:.3g}, between two evaluated steps, as the mean over the {averaged(frontiers)} of the "
        f"setting that loses least on held-out data. Examples above and below cancel in that mean, but not in the "
        f"mean {quality} at evaluated steps that the frontiers show: the column '{quality}' says what it is there"
    )


def floor_note(frontier: Frontier) -> str:
    """Return the floor of a frontier with its spread, or why it is not known; empty without reference models."""
    if not frontier.references:
        return ""
    found = [
        f"{MEASURE_NAMES[name]} {spread_text(frontier.floor[name], 2)} bits"
        for name in MEASURE_NAMES
        if name in frontier.floor
    ]
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


def reference_note(frontiers: Sequence[Frontier], measure: str) -> str:
    """Return the mean exposure of the reference models themselves, by forget set; empty if not known."""
    levels = {f.forget_set: f.floor[measure] for f in frontiers if measure in f.floor}
    listed = ", ".join(f"{name} {spread_text(level, 2)}" for name, level in levels.items())
    how = ", each against the others" if measure.startswith("gen_ex") else ""
    return f"mean {MEASURE_NAMES[measure]} of the reference models themselves{how}, bits: {listed}" if listed else ""


def target_note(frontier: Frontier) -> str:
    """Return that marked targets are below the floor; empty if none is."""
    if not any(target.below_floor for target in frontier.targets):
        return ""
    return f"* below the floor: the reference models have {frontier.exposure_floor:.2f} on average"


def frontier_notes(frontier: Frontier) -> list[str]:
    """Return what a frontier rests on: evaluations, hypervolume, knee, and its base and reference models."""
    lines = [f"from {frontier.evaluations} evaluations of {frontier.trials} trials"]
    if frontier.replicates > 1:
        lines[-1] += (
            f" in {frontier.replicates} replicates, pooled: each point is of one, with data and models of its own"
        )
    x, y = frontier.objectives
    if frontier.reference_point is not None:
        origin = ", ".join(dict.fromkeys(frontier.reference_origin))
        corner = f"({measured_text(frontier.reference_point[0], x)}, {measured_text(frontier.reference_point[1], y)})"
        product = " x ".join(unit(name) or name for name in frontier.objectives)
        side = "from" if {x, y} & {*MAXIMISED} else "below"
        lines.append(f"hypervolume {frontier.hypervolume:.2f} {product} {side} {corner}: {origin}")
        distances = [label_of(x, [frontier.levels[0]]), label_of(y, [frontier.levels[1]])]
        if distances != [x, y]:
            lines[-1] += f"; minimised: {' and '.join(distances)}"
    if frontier.hypervolume_by_seed is not None:
        interval = frontier.hypervolume_by_seed
        of_one = interval.over.removesuffix("s")
        lines[-1] += f"; of one {of_one} on average {interval.estimate:.2f} {interval_text(interval, 2)}"
    for what, row in (("knee (k)", frontier.knee), ("step nearest to the price (p)", frontier.priced)):
        if row is not None:
            place = (
                f"{row['trial_id'][:8]} at step {row['step']}, {measured_text(row[x], x)}, {measured_text(row[y], y)}"
            )
            lines.append(f"{what}: {place}")
    if frontier.priced is not None:
        lines[-1] += f"; mean {MEASURE_NAMES[frontier.measure]} {frontier.priced[frontier.measure]:+.2f} bits"
    if floor := floor_note(frontier):
        lines.append(floor)
    if frontier.base is not None:
        base = frontier.base
        exposures = {"gen_ex_abs": MEASURE_NAMES["gen_ex_abs"], "rel_ex": MEASURE_NAMES["rel_ex"]}
        facts = [f"{shown} {base[name]:.2f} bits" for name, shown in exposures.items() if base[name] is not None]
        facts.append(f"held-out NLL {number_text(base['performance'], 3)}{_own_kind(base)}")
        pooled = f"base models, mean of {len(frontier.bases)}" if len(frontier.bases) > 1 else "base model"
        lines.append(f"{pooled}: {', '.join(facts)}")
        if frontier.references:
            held_out = [row["performance"] for row in frontier.references]
            references = ", ".join(number_text(value, 3) for value in held_out)
            if frontier.replicates > 1:
                references = spread_text(spread_of(held_out), 3)
            lines[-1] += f"; reference models' held-out NLL: {references}"
    if frontier.base is not None and frontier.copying is not None:
        lines.append(
            f"base model: BLEU {frontier.base['bleu']:.1f}, chrF {frontier.base['chrf']:.1f}; copying the sources: "
            f"BLEU {frontier.copying['bleu']:.1f}, chrF {frontier.copying['chrf']:.1f}"
        )
    return lines


def _own_kind(base: Row) -> str:
    names = {"population_nll": "never trained", "distractor_nll": "retained"}
    known = [f"{base[name]:.3f} {what}" for name, what in names.items() if base.get(name) is not None]
    return f", on its own kind {' and '.join(known)}" if known else ""
