"""The claims on a terminal, in 80 columns. Only formatting lives here; ``orchestrator.claims`` has the content."""

from collections.abc import Sequence

from rich.console import Group, RenderableType

from orchestrator.claims import Claims, wording
from orchestrator.cli.terminal import PlainText as Text
from orchestrator.cli.terminal import compact_table

STYLES = {"supported": "green", "contradicted": "red"}
"""Styles of verdicts."""
_LEFT = {"", "finding", "verdict", "forget set"}
"""Columns of words."""


def claim_tables(every: Sequence[Claims]) -> RenderableType:
    """Return the verdicts of each pool of sweeps, with all that stands beside them."""
    parts: list[RenderableType] = []
    for claims in every:
        parts += [_table(wording.verdict_table(claims)), *_lines(wording.verdict_notes(claims)), Text("")]
        for table in wording.condition_tables(claims):
            parts += [_table(table), Text("")]
        parts += [*(Text(line) for line in wording.turns(claims)), Text("")]
        for beside in (wording.survival_table(claims), wording.agreement_table(claims)):
            if beside is not None:
                parts += [_table(beside), Text("")]
        parts += _lines(wording.describing_notes(claims))
    return Group(*parts, *(Text(line) for line in wording.comparisons(every)))


def _table(shown: wording.TextTable) -> RenderableType:
    table = compact_table(shown.title)
    table.padding = (0, 1, 0, 0)
    for head in shown.heads:
        table.add_column(head, justify="left" if head in _LEFT else "right", overflow="fold")
    for row in shown.rows:
        table.add_row(*row[:-1], Text(row[-1], style=STYLES.get(row[-1], "")))
    return table


def _lines(lines: Sequence[str]) -> list[RenderableType]:
    return [Text(line, style="yellow" if "NOT matched" in line else "dim") for line in lines]
