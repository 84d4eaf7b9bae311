"""What it costs to end the exposure, on a terminal: by forget set, and with forget sets side by side."""

from collections.abc import Sequence

from rich.console import Group, RenderableType

from orchestrator.cli.terminal import PlainText as Text
from orchestrator.cli.terminal import compact_table
from orchestrator.frontier import Frontier, SettingCrossing, SettingNames, comparison, summary

LOST_ON = {
    "performance": "lost:\nheld-\nout",
    "population_nll": "lost:\nnever\nseen",
    "distractor_nll": "lost:\nre-\ntained",
}
"""Column headings of what is lost, on held-out data and on data of the forget set's own kind."""
SHARED_SETTINGS = 12
"""Most settings in a table of forget sets side by side; ``frontier --json`` has all."""


def price_table(frontiers: Sequence[Frontier], names: SettingNames, measure: str) -> RenderableType:
    """Return what it costs to end the exposure by one measure, with a row for each forget set."""
    found = summary.prices_of(frontiers, measure)
    first = measure == summary.priced_measures(frontiers)[0]  # the notes below the next tables need not repeat it
    notes = [summary.price_note(frontiers, measure) if first else "", summary.reference_note(frontiers, measure)]
    below = [*(Text(note, style="dim") for note in notes if note), Text("")]
    if not any(price.best is not None for price in found):  # a table would have empty columns
        reached = [f"  {price.forget_set}: {price.reached_by}{' trials' * price.exposed}" for price in found]
        return Group(Text(f"{summary.PRICE_TITLES[measure]}, is reached by"), *map(Text, reached), *below)
    table = compact_table(f"{summary.PRICE_TITLES[measure]} (lost in nats/token)")
    costs = {name: LOST_ON[name] for name in ("performance", *summary.own_kind_measured(frontiers))}
    quality = summary.quality_name(frontiers[0]) if frontiers else ""
    numbers = [*costs.values(), quality.replace(" - ", " -\n"), "at\nstep"]
    counted = "its\ntrials" if any(frontier.replicates > 1 for frontier in frontiers) else "its\nseeds"
    for name in ("forget set", "trials\nthat get\nthere", *numbers, "with", counted):
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for price in found:
        best = price.best
        level = None if best is None else best.unlearning_quality
        table.add_row(
            price.forget_set, price.reached_by,
            *(summary.number_text(None if best is None else _mean(best, name), 3, sign=True) for name in costs),
            summary.number_text(None if level is None else level.mean, 2),
            summary.number_text(None if best is None or best.steps is None else best.steps.mean, 1),
            names.short(best.settings) if best else "-", price.seeds,
        )  # fmt: skip
    return Group(table, *below)


def _mean(setting: SettingCrossing, price: str) -> float | None:
    """Return the mean over a setting's trials of what is lost in one column; None if it was not measured."""
    level = setting.lost[price]
    return None if level is None else level.mean


def side_by_side(frontiers: Sequence[Frontier], names: SettingNames, measure: str) -> RenderableType:
    """Return forget sets compared at equal settings, and what holds at all of them; a note if no setting is shared."""
    shared = comparison.shared_settings(frontiers, measure)
    if len(frontiers) < 2 or not any(frontier.trials for frontier in frontiers):
        return Text("")
    if not shared:  # which is so for every measure
        said_before = measure != summary.priced_measures(frontiers)[0]
        return Text("") if said_before else Group(Text(comparison.NONE_SHARED, style="dim"), Text(""))
    shared = comparison.reached_by_some(shared)
    if not shared:
        return Text("")
    sets = [frontier.forget_set for frontier in frontiers]
    title = f"{summary.PRICE_TITLES[measure].partition(',')[0]} at equal settings"
    table = compact_table(f"{title}: mean (and range) over {summary.averaged(frontiers)}, lost in nats/token")
    for name in ("settings", "", *sets):
        table.add_column(name, overflow="fold")
    shown = comparison.side_rows(shared)
    for setting in shared[:SHARED_SETTINGS]:
        for what in shown:
            table.add_row(
                names.short(setting.settings) if what == shown[0] else "",
                comparison.side_label(shared, what),
                *(comparison.side_cell(setting, name, what) for name in sets),
            )
    said = (
        [f"{comparison.orders_title(shared)}:", *(f"  {line}" for line in comparison.orders(shared))]
        if comparison.orders(shared)
        else []
    )
    left = len(shared) - SHARED_SETTINGS
    more = [f"{left} more settings: frontier --json"] if left > 0 else []
    return Group(table, *(Text(line, style="dim") for line in more), *(Text(line) for line in said), Text(""))
