"""What probes found, on a terminal. Only formatting lives here; ``orchestrator.frontier`` has the content."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType

from orchestrator.cli.terminal import PlainText as Text
from orchestrator.cli.terminal import compact_table
from orchestrator.frontier import Frontier, Point, ProbedOne, ProbedSet, summary

POINTS_A_TABLE = 4
"""Points that stand side by side in 80 columns, beside the base model and the references."""


def probe_tables(found: Sequence[ProbedSet], names: Mapping[Point, str]) -> RenderableType:
    """Return the tables of what probes found, a few points side by side, with what the values mean.

    Args:
        found: by forget set.
        names: what points are, such as the knee, by trial and step.
    """
    parts: list[RenderableType] = []
    for own in found:
        for start in range(0, len(own.points), POINTS_A_TABLE):
            shown = summary.probe_table(own, names, own.points[start : start + POINTS_A_TABLE])
            table = compact_table(shown.title)
            table.padding = (0, 1, 0, 0)
            table.add_column("", overflow="fold")
            for head in shown.heads:
                table.add_column(head, justify="right", overflow="fold")
            for name, cells in shown.rows:
                table.add_row(name, *cells)
            parts += [table, Text("")]
        parts += [Text(summary.probe_note(own), style="dim"), Text("")]
    return Group(*parts)


def after_tables(found: Sequence[ProbedSet], frontiers: Sequence[Frontier], probe: str) -> RenderableType:
    """Return for each forget set what one probe left of its points: before, and after the strongest variant."""
    parts: list[RenderableType] = []
    for own in found:
        frontier = next(frontier for frontier in frontiers if frontier.forget_set == own.forget_set)
        measure = summary.MEASURE_NAMES[own.measure]
        probed = {one.point for one in own.points if one.after(probe, own.measure) is not None}
        on_frontier = {(row["trial_id"], row["step"]) for row in frontier.points}
        table = compact_table(
            f"{own.forget_set} ({summary.DISTRIBUTION_NAMES[own.distribution]}): after {probe}, by its strongest "
            f"variant; {len(on_frontier & probed)} of {len(on_frontier)} Pareto points were probed"
        )
        table.padding = (0, 1, 0, 0)
        for name in ("", "trial", "step", f"{measure}\nbefore", f"{measure}\nafter", "by", "NLL\nbefore", "NLL\nafter"):
            table.add_column(name, justify="left" if name in ("", "trial", "by") else "right", overflow="fold")
        for one in (*own.points, *own.controls):
            cells = _after_cells(one, own, probe)
            if cells is not None:
                table.add_row(_mark(frontier, one, on_frontier), (one.trial_id or one.role)[:11], *cells)
        marks = "k: knee; p: nearest to the price; o: on the frontier"
        parts += [table, Text(f"{marks}. NLL: held-out, in nats/token; {measure}: in bits", style="dim")]
        parts += [Text(summary.probe_note(own), style="dim"), Text("")]
    return Group(*parts)


def _mark(frontier: Frontier, one: ProbedOne, on_frontier: set[Point]) -> str:
    if one.point is None:
        return ""
    row = {"trial_id": one.trial_id, "step": one.step}
    return summary.point_marks(frontier, row) or ("o" if one.point in on_frontier else "")


def _after_cells(one: ProbedOne, own: ProbedSet, probe: str) -> list[str] | None:
    """Return the cells behind the trial; None: the probe measures no exposure, or this model was not probed."""
    row = one.after(probe, own.measure)
    if row is None:
        return None
    amount = "" if row["amount"] is None or f"{row['amount']:g}" in row["variant"] else f" {row['amount']:g}"
    return [
        "-" if one.step is None else str(one.step),
        summary.number_text(row[f"before_{own.measure}"], 2),
        "diverged" if row["performance"] is None else summary.number_text(row[own.measure], 2),
        f"{row['variant']}{amount}",
        summary.number_text(row["before_performance"], 3),
        summary.number_text(row["performance"], 3),
    ]
