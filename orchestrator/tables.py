"""Terminal tables: plans, frontiers, query results. Only formatting lives here."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.frontier import Frontier
from orchestrator.plan import Plan
from orchestrator.progress import duration
from orchestrator.summary import (
    PRICES,
    exposure_notes,
    frontier_notes,
    lost,
    number,
    points_shown,
    points_title,
    prices,
)


def plan_table(plan: Plan) -> RenderableType:
    """Show what a sweep will cost."""
    table = Table(title=f"plan of sweep '{plan.sweep}'", show_header=False)
    table.add_row("trials", f"{plan.trials}  ({plan.strata} strata x {plan.trials_per_stratum})")
    table.add_row("models to train, unless cached", f"{plan.models_to_train}  ({plan.training_steps} training steps)")
    table.add_row("step values", str(plan.step_values))
    table.add_row("evaluations, at most", str(plan.evaluations))
    table.add_row("ascent steps, at most", str(plan.ascent_steps))
    table.add_row("the same as separate runs", f"{plan.separate_run_ascent_steps}  ({plan.saving:.1f} times as many)")
    if plan.estimated_preparation_s is not None and plan.estimated_sweep_s is not None:
        table.add_row("estimated preparation", duration(plan.estimated_preparation_s))
        table.add_row(f"estimated sweep, {plan.concurrent_trials} at once", duration(plan.estimated_sweep_s))
    notes = []
    if plan.schedule_depends_on_total:
        notes.append(
            Text("A schedule depends on the total number of steps, so there each step value is a trial of its own: "
                 "the step axis is not shared.", style="yellow")
        )  # fmt: skip
    if plan.estimated_sweep_s is not None:
        notes.append(
            Text(
                "Estimates come from three timed steps of this model on this machine, without start-up.",
                style="dim",
            )
        )
    return Group(table, *notes)


def frontier_report(frontiers: Sequence[Frontier]) -> RenderableType:
    """Show every frontier, then what it takes to end the exposure, side by side."""
    notes = exposure_notes(frontiers)
    return Group(
        *(_frontier_table(frontier) for frontier in frontiers),
        *(_price_table(frontiers, measure) for measure in PRICES),
        *(Text(note.text, style="dim" if note.matched else "yellow") for note in notes),
    )


def _frontier_table(frontier: Frontier) -> RenderableType:
    table = _table(points_title(frontier))
    for name in ("trial", "optimizer, lr", "step"):
        table.add_column(name, justify="right" if name == "step" else "left", overflow="fold")
    for name in ("|GenEx|\nbits", "GenEx\nbits", "RelEx\nbits", "extr.", "AUC", "held-\nout\nNLL", "lost"):
        table.add_column(name, justify="right", overflow="fold")
    for row in points_shown(frontier):
        table.add_row(
            row["trial_id"][:8], f"{row['optimizer']} {row['learning_rate']:.2g}", str(row["step"]),
            number(row["gen_ex_abs"], 2), number(row["gen_ex"], 2), number(row["rel_ex"], 2),
            f"{row['extraction_rate']:.0%}", f"{row['membership_auc']:.2f}",
            f"{row['heldout_nll']:.3f}", number(lost(row, frontier), 3, sign=True),
        )  # fmt: skip
    if not frontier.points:
        return Group(table, Text("no completed evaluation yet", style="yellow"))
    return Group(table, *(Text(line, style="dim") for line in frontier_notes(frontier)), Text(""))


def _price_table(frontiers: Sequence[Frontier], measure: str) -> RenderableType:
    table = _table(f"{PRICES[measure]} (interpolated between evaluations)")
    for name in ("forget set", "reached\nby", "lost,\nnats/token", "at step", "with", "median steps"):
        table.add_column(name, overflow="fold")
    for price in prices(frontiers, measure):
        best = price.cheapest
        table.add_row(
            price.forget_set, f"{price.reached} of {price.trials}",
            number(best.cost, 3, sign=True) if best else "-", f"{best.steps:.1f}" if best else "-",
            f"{best.optimizer} {best.learning_rate:.2g}" if best else "-", price.median_steps,
        )  # fmt: skip
    return Group(table, Text(""))


def _table(title: str) -> Table:
    """Start a table that fits 80 columns, and folds rather than cuts where they are fewer."""
    layout: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "collapse_padding": True}
    return Table(title=title, title_justify="left", **layout)


def result_table(result: pa.Table) -> RenderableType:
    """Show a query's result."""
    table = Table(caption=f"{result.num_rows} rows", caption_justify="left")
    for column in result.schema:
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        table.add_column(column.name, justify="right" if numeric else "left", overflow="fold")
    for row in result.to_pylist():
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
