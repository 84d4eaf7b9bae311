"""Frontiers on a terminal, in 80 columns. Only formatting lives here; what is said is ``summary``'s."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType

from orchestrator.crossings import method_of
from orchestrator.frontier import CHOSEN_NOTE, Frontier, Row, Target
from orchestrator.frontier_objectives import label_of
from orchestrator.frontier_plot import frontier_plot
from orchestrator.schema import unit
from orchestrator.summary import (
    POINTS_SHOWN,
    PRICES,
    cost_of,
    exposure_notes,
    frontier_notes,
    interval_note,
    level_note,
    lost,
    number,
    own_kind_measured,
    points_shown,
    points_title,
    prices,
    target_note,
)
from orchestrator.terminal import PlainTable as Table
from orchestrator.terminal import PlainText as Text

LOST_ON = {"population_nll": "lost:\nnever\nseen", "distractor_nll": "lost:\nre-\ntained"}
"""Headings of what is lost on data of the forget set's own kind."""
POINTS_IN_SUMMARY = 8
"""Frontier points of a forget set at the end of a run."""


def frontier_report(frontiers: Sequence[Frontier]) -> RenderableType:
    """Show every frontier and what reaches which exposure, a plot, then what it takes to end the exposure."""
    return _report(
        frontiers, [part for f in frontiers for part in (_frontier_table(f, POINTS_SHOWN), _target_table(f))]
    )


def frontier_summary(frontiers: Sequence[Frontier]) -> RenderableType:
    """Show the same, shorter: fewer points, no targets."""
    return _report(frontiers, [_frontier_table(frontier, POINTS_IN_SUMMARY) for frontier in frontiers])


def _report(frontiers: Sequence[Frontier], tables: Sequence[RenderableType]) -> RenderableType:
    return Group(
        *tables,
        Text(frontier_plot(frontiers), no_wrap=True),
        Text(""),
        *(_price_table(frontiers, measure) for measure in PRICES),
        *([Text(CHOSEN_NOTE, style="dim")] if any(frontier.points for frontier in frontiers) else []),
        Text(interval_note(frontiers), style="dim"),
        *(Text(note.text, style="dim" if note.matched else "yellow") for note in exposure_notes(frontiers)),
    )


def _frontier_table(frontier: Frontier, most: int) -> RenderableType:
    table = _table(points_title(frontier, most))
    extra = {
        index: f"{name}\n{unit(name)}" if level is None else f"{name}\ndistance\nto {level:.3g}"
        for index, (name, level) in enumerate(zip(frontier.objectives, frontier.levels, strict=True))
        if level is not None or name not in _shown_anyway(frontier)
    }
    for name in ("trial", "method, lr", "step"):
        table.add_column(name, justify="right" if name == "step" else "left", overflow="fold")
    writes = any(row["bleu"] is not None for row in frontier.points)
    costs = {"performance": "lost:\nheld-\nout"}
    costs |= {name: LOST_ON[name] for name in own_kind_measured([frontier])}
    shows_nll = len(costs) == 1  # where its own kind is known, what is lost takes the room
    headers = ["|Gen-\nEx|\nbits", "GenEx\nbits", "RelEx\nbits", "extr.", "AUC"]
    headers += [*["held-\nout\nNLL"] * shows_nll, *costs.values(), *["BLEU"] * writes]
    for name in (*extra.values(), *headers):
        table.add_column(name, justify="right", overflow="fold")
    for row in points_shown(frontier, most):
        table.add_row(
            row["trial_id"][:8], f"{method_of(row)} {row['learning_rate']:.2g}", str(row["step"]),
            *(number(frontier.minimised(row)[index], 3) for index in extra),
            number(row["gen_ex_abs"], 2), number(row["gen_ex"], 2), number(row["rel_ex"], 2),
            f"{row['extraction_rate']:.0%}", f"{row['membership_auc']:.2f}",
            *([number(row["heldout_nll"], 3)] if shows_nll else []),
            *(number(lost(row, frontier, name), 3, sign=True) for name in costs),
            *([number(row["bleu"], 1)] if writes else []),
        )  # fmt: skip
    if not frontier.points:
        return Group(table, Text("no completed evaluation yet", style="yellow"), Text(""))
    return Group(table, *(Text(line, style="dim") for line in frontier_notes(frontier)), Text(""))


def _shown_anyway(frontier: Frontier) -> set[str]:
    """Name the objectives that the usual columns show: with reference models, unlearning quality is |GenEx|."""
    shown = {"step", "gen_ex_abs", "heldout_nll", "performance", *own_kind_measured([frontier])}
    measured = any(row["gen_ex_abs"] is not None for row in frontier.points)
    return shown | {"unlearning_quality"} if measured else shown


def _target_table(frontier: Frontier) -> RenderableType:
    if not frontier.points or not frontier.targets:
        return Text("")
    exposure = label_of(frontier.objectives[0], frontier.levels[:1])
    performance = frontier.objectives[1]
    table = _table(f"{frontier.forget_set}: what reaches a given {exposure}, soonest and best")
    bound = f"at most,\n{unit(frontier.objectives[0])}"
    for name in (bound, "fewest\nsteps", "s", performance, "by", f"best\n{performance}", "steps", "s", "by"):
        table.add_column(name, justify="left" if name == "by" else "right", overflow="fold")
    for target in frontier.targets:
        mark = "*" if target.below_floor else ""
        table.add_row(f"{target.exposure_at_most:.4g}{mark}", *_target_cells(target, performance))
    return Group(table, *(Text(note, style="yellow") for note in [target_note(frontier)] if note), Text(""))


def _target_cells(target: Target, performance: str) -> list[str]:
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


def _price_table(frontiers: Sequence[Frontier], measure: str) -> RenderableType:
    table = _table(f"{PRICES[measure]} (lost in nats/token, interpolated between evaluations)")
    own_kind = own_kind_measured(frontiers)
    costs = ["lost:\nheld-\nout", *(LOST_ON[name] for name in own_kind)]
    for name in ("forget set", "reached\nby", *costs, "at\nstep", "with", "median steps"):
        table.add_column(name, overflow="fold")
    for price in prices(frontiers, measure):
        best = price.cheapest
        table.add_row(
            price.forget_set, price.reached_by,
            *(number(cost_of(best, name), 3, sign=True) for name in ("performance", *own_kind)),
            f"{best.steps:.1f}" if best else "-",
            f"{best.method} {best.learning_rate:.2g}" if best else "-", price.median_steps,
        )  # fmt: skip
    return Group(table, *(Text(note, style="dim") for note in [level_note(frontiers, measure)] if note), Text(""))


def _table(title: str) -> Table:
    """Start a table that fits 80 columns, and folds rather than cuts where they are fewer."""
    layout: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": 0}
    return Table(title=title, title_justify="left", **layout)
