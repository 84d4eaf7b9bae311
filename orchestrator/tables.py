"""Terminal tables: plans, frontiers, query results. Only formatting lives here."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.frontier import UNEXPOSED, Frontier
from orchestrator.plan import Plan
from orchestrator.progress import duration

DISTRIBUTIONS = {"in": "in-distribution", "out": "out-of-distribution"}
PRICES = {
    "gen_ex": "the price of mean GenEx 0, as likely as under the reference models",
    "rel_ex": f"the price of mean RelEx {UNEXPOSED['rel_ex']:.2f}, ranked as never-trained examples are",
}
POINTS_SHOWN = 12
"""Frontier points of a forget set on the terminal; ``--json`` has all."""


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
    return Group(
        *(_frontier_table(frontier) for frontier in frontiers),
        *(_crossing_table(frontiers, measure) for measure in UNEXPOSED),
        _exposure_note(frontiers),
    )


def _frontier_table(frontier: Frontier) -> RenderableType:
    shown = _thin(frontier.points)
    share = f"{len(shown)} of {len(frontier.points)}" if len(shown) < len(frontier.points) else str(len(shown))
    title = f"{frontier.forget_set} ({DISTRIBUTIONS[frontier.distribution]}): {share} Pareto points"
    table = _table(title)
    for name in ("trial", "optimizer, lr", "step"):
        table.add_column(name, justify="right" if name == "step" else "left", overflow="fold")
    for name in ("|GenEx|\nbits", "GenEx\nbits", "RelEx\nbits", "extr.", "AUC", "held-\nout\nNLL", "lost"):
        table.add_column(name, justify="right", overflow="fold")
    for row in shown:
        lost = None if frontier.base is None else row["performance"] - frontier.base["performance"]
        table.add_row(
            row["trial_id"][:8], f"{row['optimizer']} {row['learning_rate']:.2g}", str(row["step"]),
            _number(row["gen_ex_abs"], 2), _number(row["gen_ex"], 2), _number(row["rel_ex"], 2),
            f"{row['extraction_rate']:.0%}", f"{row['membership_auc']:.2f}",
            f"{row['heldout_nll']:.3f}", _number(lost, 3, sign=True),
        )  # fmt: skip
    if not frontier.points:
        return Group(table, Text("no completed evaluation yet", style="yellow"))
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
            f"base model: |GenEx| {_number(frontier.base['gen_ex_abs'], 2)} bits, "
            f"RelEx {frontier.base['rel_ex']:.2f} bits, held-out NLL "
            f"{frontier.base['performance']:.3f}; reference models' held-out NLL: {references}"
        )
    return Group(table, *(Text(line, style="dim") for line in lines), Text(""))


def _crossing_table(frontiers: Sequence[Frontier], measure: str) -> RenderableType:
    table = _table(f"{PRICES[measure]} (interpolated between evaluations)")
    for name in ("forget set", "reached\nby", "lost,\nnats/token", "at step", "with", "median steps"):
        table.add_column(name, overflow="fold")
    for frontier in frontiers:
        crossings = frontier.crossings[measure]
        best = crossings[0] if crossings else None
        medians = ", ".join(f"{name} {steps:.0f}" for name, steps in frontier.steps_to_unlearn(measure).items())
        table.add_row(
            frontier.forget_set, f"{len(crossings)} of {frontier.trials}",
            _number(best.cost, 3, sign=True) if best else "-", f"{best.steps:.1f}" if best else "-",
            f"{best.optimizer} {best.learning_rate:.2g}" if best else "-", medians or "-",
        )  # fmt: skip
    return Group(table, Text(""))


def _exposure_note(frontiers: Sequence[Frontier]) -> RenderableType:
    """State whether the forget sets were equally exposed before unlearning: comparing their prices rests on it."""
    bases = {f.forget_set: f.base for f in frontiers if f.base is not None}
    if len(bases) < 2:
        return Text("")
    lines = []
    for column, what in (("gen_ex_per_token", "GenEx, bits/token"), ("rel_ex", "RelEx, bits")):
        values = {name: base[column] for name, base in bases.items() if base[column] is not None}
        matched = len(values) > 1 and 0 < max(values.values()) <= 1.1 * min(values.values())
        listed = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        verdict = "matched within 10%" if matched else "NOT matched: compare prices with care"
        lines.append(
            Text(f"exposure of the base model, {what}: {listed} ({verdict})", style="dim" if matched else "yellow")
        )
    return Group(*lines)


def _table(title: str) -> Table:
    """Start a table that fits 80 columns, and folds rather than cuts where they are fewer."""
    layout: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "collapse_padding": True}
    return Table(title=title, title_justify="left", **layout)


def _thin(points: Sequence[Any]) -> list[Any]:
    """Keep at most ``POINTS_SHOWN`` points, both ends among them."""
    if len(points) <= POINTS_SHOWN:
        return list(points)
    return [points[round(i * (len(points) - 1) / (POINTS_SHOWN - 1))] for i in range(POINTS_SHOWN)]


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


def _number(value: float | None, digits: int, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
