"""Rich, for text that came from elsewhere: nothing in it is markup, an emoji's name, or obeyed by the terminal.

Tables and texts are cleaned when they are made, so that columns stay in line; the console cleans all else it shows.
"""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from orchestrator.safe_text import clean, one_line


class PlainConsole(Console):
    """A console that shows text as it is, but for what a terminal would obey."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """See ``Console``. Some of what a terminal obeys Rich drops without a word."""
        return super().render_str(clean(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See ``Console``. Rich's own control codes are segments of their own kind."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean(segment.text))


class PlainText(Text):
    """Text that is cleaned."""

    def __init__(self, text: str = "", *arguments: Any, **options: Any) -> None:
        super().__init__(clean(text), *arguments, **options)


class PlainTable(Table):
    """A table whose title and cells are cleaned, one line each."""

    def __init__(self, *headers: Any, title: str | None = None, **options: Any) -> None:
        shown = None if title is None else Text(one_line(title), style="table.title")
        super().__init__(*headers, title=shown, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """See ``Table``."""
        super().add_row(*(Text(one_line(cell)) if isinstance(cell, str) else cell for cell in cells), **options)


def compact_table(title: str) -> PlainTable:
    """Start a table that fits 80 columns, and folds rather than cuts where they are fewer."""
    layout: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": 0}
    return PlainTable(title=title, title_justify="left", **layout)
