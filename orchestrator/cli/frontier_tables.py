"""Frontiers on a terminal, in 80 columns. Only formatting lives here; ``orchestrator.frontier`` has the content."""

from collections.abc import Sequence

from rich.console import Group, RenderableType

from orchestrator.cli.frontier_plot import frontier_plot
from orchestrator.cli.price_tables import LOST_ON, price_table, side_by_side
from orchestrator.cli.terminal import PlainText as Text
from orchestrator.cli.terminal import compact_table
from orchestrator.frontier import CHOSEN_NOTE, Frontier, Row, SettingNames, Target, label_of, settings_of, summary
from orchestrator.ledger import unit

POINTS_IN_SUMMARY = 8
"""Most frontier points of a forget set that are shown at the end of a run."""
SETTING_WORD = 12
"""Most characters of a word that fit the settings column of a frontier's table in 80 columns."""


def frontier_report(frontiers: Sequence[Frontier]) -> RenderableType:
    """Return every frontier with what reaches which exposure, a plot, and what it costs to end the exposure."""
    names = summary.setting_names(frontiers)
    tables = [part for f in frontiers for part in (_frontier_table(f, names, summary.POINTS_SHOWN), _target_table(f))]
    return _report(frontiers, names, tables, compared=summary.priced_measures(frontiers))


def frontier_summary(frontiers: Sequence[Frontier]) -> RenderableType:
    """Return a shorter report: fewer points, no targets, forget sets side by side by one measure only."""
    names = summary.setting_names(frontiers)
    tables = [_frontier_table(frontier, names, POINTS_IN_SUMMARY) for frontier in frontiers]
    return _report(frontiers, names, tables, compared=summary.priced_measures(frontiers)[:1])


def _report(
    frontiers: Sequence[Frontier], names: SettingNames, tables: Sequence[RenderableType], *, compared: Sequence[str]
) -> RenderableType:
    """Put together the tables, the plot, the prices, the notes and the answer in one sentence."""
    return Group(
        *tables,
        Text(frontier_plot(frontiers), no_wrap=True),
        Text(""),
        *(
            part
            for measure in summary.priced_measures(frontiers)
            for part in (
                price_table(frontiers, names, measure),
                *([side_by_side(frontiers, names, measure)] if measure in compared else []),
            )
        ),
        *_notes(frontiers, names),
        Text(""),
        Text(summary.answer(frontiers)),
    )


def _notes(frontiers: Sequence[Frontier], names: SettingNames) -> list[RenderableType]:
    """Return the notes that apply to all tables together."""
    notes = [f"settings above also have: {names.common}"] if names.common else []
    if any(frontier.points for frontier in frontiers):
        notes.append(CHOSEN_NOTE)
    notes += [note for note in [summary.interval_note(frontiers)] if note]
    return [
        *(Text(note, style="dim") for note in notes),
        *(Text(note.text, style="dim" if note.matched else "yellow") for note in summary.exposure_notes(frontiers)),
    ]


def _frontier_table(frontier: Frontier, names: SettingNames, most: int) -> RenderableType:
    """Return at most ``most`` points of a frontier as a table, with its notes below."""
    table = compact_table(summary.points_title(frontier, most))
    rows = summary.points_shown(frontier, most)
    titles = {"unlearning_quality": summary.quality_name(frontier).replace(" - ", " -\n")}
    extra = {
        index: f"{titles.get(name, name)}\n{unit(name)}" if level is None else f"{name}\ndistance\nto {level:.3g}"
        for index, (name, level) in enumerate(zip(frontier.objectives, frontier.levels, strict=True))
        if level is not None or name not in _shown_anyway(frontier)
    }
    for name in ("", "trial", "settings", "step"):
        table.add_column(name, justify="right" if name == "step" else "left", overflow="fold")
    writes = any(row["bleu"] is not None for row in rows)
    costs = {name: LOST_ON[name] for name in ("performance", *summary.own_kind_measured([frontier]))}
    shows_nll = len(costs) == 1  # where losses on its own kind are known, they take the room
    exposures = {"gen_ex_abs": "|Gen-\nEx|\nbits", "gen_ex": "GenEx\nbits", "rel_ex": "RelEx\nbits"}
    exposures = {name: header for name, header in exposures.items() if any(row[name] is not None for row in rows)}
    headers = [*exposures.values(), "extr.", "AUC"]
    headers += [*["held-\nout\nNLL"] * shows_nll, *costs.values(), *["BLEU"] * writes]
    for name in (*extra.values(), *headers):
        table.add_column(name, justify="right", overflow="fold")
    settings = [names.short(settings_of(row)) for row in rows]
    numbered = _numbered(settings)
    for row, setting in zip(rows, settings, strict=True):
        table.add_row(
            summary.point_marks(frontier, row), row["trial_id"][:8], numbered.get(setting, setting), str(row["step"]),
            *(summary.number_text(frontier.shown(row)[index], 3) for index in extra),
            *(summary.number_text(row[name], 2) for name in exposures),
            f"{row['extraction_rate']:.0%}", f"{row['membership_auc']:.2f}",
            *([summary.number_text(row["heldout_nll"], 3)] if shows_nll else []),
            *(summary.number_text(summary.lost_against_base(row, frontier, name), 3, sign=True) for name in costs),
            *([summary.number_text(row["bleu"], 1)] if writes else []),
        )  # fmt: skip
    below = [Text(f"settings {number}: {setting}") for setting, number in numbered.items()]
    if not frontier.points:
        return Group(table, Text("no completed evaluation yet", style="yellow"), Text(""))
    return Group(table, *below, *(Text(line, style="dim") for line in summary.frontier_notes(frontier)), Text(""))


def _numbered(settings: Sequence[str]) -> dict[str, str]:
    """Return the number that replaces each setting in a table that would cut words; empty if nothing would be cut."""
    if all(len(word) <= SETTING_WORD for setting in settings for word in setting.split()):
        return {}
    return {setting: str(index) for index, setting in enumerate(dict.fromkeys(settings), start=1)}


def _shown_anyway(frontier: Frontier) -> set[str]:
    """Return the objectives that the usual columns show: with reference models, unlearning quality is |GenEx|."""
    shown = {"step", "gen_ex_abs", "heldout_nll", "performance", *summary.own_kind_measured([frontier])}
    measured = any(row["gen_ex_abs"] is not None for row in frontier.points)
    return shown | {"unlearning_quality"} if measured else shown


def _target_table(frontier: Frontier) -> RenderableType:
    """Return which trials reach the exposures that were asked for: the soonest and the best."""
    if not frontier.points or not frontier.targets:
        return Text("")
    exposure = label_of(frontier.objectives[0], frontier.levels[:1])
    performance = frontier.objectives[1]
    table = compact_table(f"{frontier.forget_set}: what reaches a given {exposure}, soonest and best")
    bound = f"at most,\n{unit(frontier.objectives[0])}"
    for name in (bound, "fewest\nsteps", "s", performance, "by", f"best\n{performance}", "steps", "s", "by"):
        table.add_column(name, justify="left" if name == "by" else "right", overflow="fold")
    for target in frontier.targets:
        mark = "*" if target.below_floor else ""
        table.add_row(f"{target.exposure_at_most:.4g}{mark}", *_target_cells(target, performance))
    return Group(table, *(Text(note, style="yellow") for note in [summary.target_note(frontier)] if note), Text(""))


def _target_cells(target: Target, performance: str) -> list[str]:
    """Return the cells of a target's row, '-' where no trial reaches it."""

    def cells(row: Row | None, *names: str) -> list[str]:
        if row is None:
            return ["-"] * (len(names) + 1)
        shown = {"step": str(row["step"]), "elapsed_s": f"{row['elapsed_s']:.1f}"}
        shown.setdefault(performance, f"{row[performance]:.3f}")
        return [*(shown[name] for name in names), row["trial_id"][:8]]

    return [
        *cells(target.cheapest, "step", "elapsed_s", performance),
        *cells(target.best, performance, "step", "elapsed_s"),
    ]
