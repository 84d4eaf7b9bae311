"""Terminal tables of plans and query results. Only formatting lives here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Group, RenderableType

from orchestrator.cli.terminal import PlainTable as Table
from orchestrator.cli.terminal import PlainText as Text
from orchestrator.durations import duration
from orchestrator.query import interval_text
from orchestrator.safe_text import one_line

if TYPE_CHECKING:
    from orchestrator.plan import Plan  # importing it loads PyTorch, which a query's result does not need

ROWS_SHOWN = 1000
"""Most rows of a query's result that are shown on the terminal."""
_SET_NAMES = {
    "forget": "to forget", "population": "population, never trained", "distractors": "distractors, retained",
    "retain": "retain", "heldout": "held-out, never trained",
}  # fmt: skip
_OF_STUDIES = {
    (False, "replicates"): "forget set, every proposal on every seed",
    (False, "seeds"): "forget set, every proposal on every seed",
    (False, "each"): "forget set and seed",
    (True, "replicates"): "forget set, every proposal on every seed of every replicate",
    (True, "seeds"): "forget set and replicate, every proposal on every seed",
    (True, "each"): "forget set, replicate and seed",
}
"""What a plan has one search for, by whether there are replicates and by ``search.across``."""
TEXT_WIDTH = 24
"""Characters above which a column of a query's result may fold."""


def plan_table(plan: "Plan") -> RenderableType:
    """Return the table of what a sweep will cost, its data above it and notes below."""
    table = Table(title=f"plan of sweep '{plan.sweep}'", show_header=False)
    limits = ", ".join(f"{name} {limit}" for name, limit in plan.budget.items())
    many = f"{plan.trials}  ({plan.strata} strata x {plan.trials_per_stratum})"
    if plan.trials is None:
        many = f"until the budget is spent, in {plan.strata} strata"
    table.add_row("trials, at most" if limits else "trials", many)
    of_what = _OF_STUDIES[plan.replicates > 1, plan.across]
    table.add_row("searches", f"{plan.studies}, one for each {of_what}")
    if plan.replicates > 1:
        table.add_row("replicates", f"{plan.replicates}, each with data and models of its own")
    if limits:
        table.add_row("budget", limits)
    steps = "" if plan.training_steps is None else f"  ({plan.training_steps} training steps)"
    most = ", at most" if plan.matches_sets else ""
    table.add_row(f"models to train, unless cached{most}", f"{plan.models_to_train}{steps}")
    table.add_row("step values", str(plan.step_values))
    if plan.evaluations is not None:
        table.add_row("evaluations, at most", str(plan.evaluations))
    if plan.ascent_steps is not None:
        table.add_row("ascent steps, at most", str(plan.ascent_steps))
    if plan.saving is not None:
        times = f"({plan.saving:.1f} times as many)"
        table.add_row("the same as separate runs", f"{plan.separate_run_ascent_steps}  {times}")
    costly = [metric for metric in plan.metrics if metric.cost]
    table.add_row("metrics", f"{len(plan.metrics)}, {len(costly) or 'none'} of which take more than likelihoods")
    for metric in costly:
        table.add_row(f"  {metric.metric}", f"in each evaluation {metric.cost}")
    estimates = (
        ("estimated start-up", plan.estimated_start_s),
        ("estimated preparation", plan.estimated_preparation_s),
        (f"estimated sweep, {plan.concurrent_trials} at once", plan.estimated_sweep_s),
        ("of that, evaluations", plan.estimated_evaluation_s),
        ("estimated report", plan.estimated_report_s),
        ("estimated time in all", plan.estimated_total_s),
    )
    for name, seconds in estimates:
        if seconds:
            table.add_row(name, duration(seconds))
    if plan.estimated_sweep_s is not None:
        if plan.estimated_gpu_hours:
            table.add_row("estimated GPU-hours, at most", f"{plan.estimated_gpu_hours:.3g}")
        table.add_row("estimated CPU-hours", f"{plan.estimated_cpu_hours:.3g}")
    return Group(*([_sets_table(plan)] if plan.sets else []), table, *_plan_notes(plan))


def _plan_notes(plan: "Plan") -> list[Text]:
    """Return what is to be known of a plan's numbers."""
    notes = []
    if plan.schedule_depends_on_total:
        names = ", ".join(plan.schedules_that_depend_on_total)
        notes.append(
            Text(
                f"The step axis is not shared under schedule {names}, which depends on the total number of steps: each "
                f"step value is a trial of its own, from step 0, with one evaluation instead of {plan.step_values}. "
                f"constant and inverse_sqrt do not depend on it.",
                style="yellow",
            )
        )
    if plan.estimated_sweep_s is not None:
        sure = f", which took within {plan.timing_spread:.0%} of each other" if plan.timing_spread is not None else ""
        notes.append(
            Text(
                f"Estimates come from three timed steps of this model on this machine ({plan.timed_on}){sure}, and "
                f"from how long libraries take to import here. Communication between workers is not included. Trials "
                f"that share a GPU slow each other down; cached models are not trained again.",
                style="dim",
            )
        )
    untimed = plan.estimated_sweep_s is not None and any(metric.cost for metric in plan.metrics)
    for is_so, note in (
        (untimed, "Gradients, other answers and generated texts of metrics are not in these times."),
        (
            plan.timed_in_part,
            "Whole steps take too long to be timed here: parts of them were timed, and the rest calculated, so that "
            "estimates may be several times too high or too low.",
        ),
    ):
        if is_so:
            notes.append(Text(note, "dim"))
    return notes


def _sets_table(plan: "Plan") -> RenderableType:
    """Return a table of the size of each set and the lengths of its examples."""
    table = Table(title=f"data of sweep '{plan.sweep}'")
    table.add_column("set")
    for name in ("examples", "tokens:\nmedian", "\nlongest"):
        table.add_column(name, justify="right")
    for one in plan.sets:
        known = one.median_tokens is not None
        table.add_row(
            _SET_NAMES.get(one.part, one.part)
            if one.forget_set is None
            else f"{one.forget_set}: {_SET_NAMES[one.part]}",
            str(one.examples),
            f"{one.median_tokens:g}" if known else "",
            str(one.longest_tokens) if known else "",
        )
    return table


def result_table(result: pa.Table, *, width: int) -> RenderableType:
    """Return a query's result as a table of ``width`` characters; the caption says what had no room."""
    rows = list(zip(*(column.to_pylist() for column in result.slice(0, ROWS_SHOWN).columns), strict=True))
    cells = [[_cell(value) for value in row] for row in rows]
    names = [one_line(name) for name in result.schema.names]
    fitting = _columns_that_fit(names, cells, width)
    caption = [f"{result.num_rows} rows"]
    if result.num_rows > ROWS_SHOWN:
        caption = [f"{ROWS_SHOWN} of {result.num_rows} rows"]
    if fitting < result.num_columns:
        caption.append(f"{fitting} of {result.num_columns} columns: select fewer, or --format for all")
    table = Table(caption=", ".join(caption), caption_justify="left")
    for index, (name, column) in enumerate(list(zip(names, result.schema, strict=True))[:fitting]):
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        table.add_column(
            Text(name),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=_longest(index, names, cells) <= TEXT_WIDTH,  # an id on two lines cannot be copied
        )
    for row in cells:
        table.add_row(*row[:fitting])
    return table


def _columns_that_fit(names: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> int:
    """Return how many columns fit, from the left, at least one. Long texts fold at ``TEXT_WIDTH``."""
    taken = 1
    for index in range(len(names)):
        taken += min(_longest(index, names, cells), TEXT_WIDTH) + 3
        if taken > width:
            return max(index, 1)
    return len(names)


def _longest(index: int, names: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """Return the length of a column's longest text, its name included."""
    return max(len(names[index]), *(len(row[index]) for row in cells)) if cells else len(names[index])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, pa.MonthDayNano):
        return interval_text(*value)
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value))
