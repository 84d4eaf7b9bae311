"""Rich for untrusted text: it is never read as markup or emoji names, and holds nothing that a terminal obeys.

Tables and texts are cleaned when they are made, so that columns stay aligned; the console cleans everything else.
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
    """A console that shows text literally, with control characters written out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """See ``Console``. Cleaned first, because Rich drops some control characters silently."""
        return super().render_str(clean(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See ``Console``. Rich's own control codes are kept: they are segments of their own kind."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean(segment.text))


class PlainText(Text):
    """Text that is cleaned of control characters."""

    def __init__(self, text: str = "", *arguments: Any, **options: Any) -> None:
        super().__init__(clean(text), *arguments, **options)


class PlainTable(Table):
    """A table whose title and cells are cleaned of control characters, and are one line each."""

    def __init__(self, *headers: Any, title: str | None = None, **options: Any) -> None:
        shown = None if title is None else Text(one_line(title), style="table.title")
        super().__init__(*headers, title=shown, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """See ``Table``."""
        super().add_row(*(Text(one_line(cell)) if isinstance(cell, str) else cell for cell in cells), **options)


def compact_table(title: str) -> PlainTable:
    """Return an empty table that fits 80 columns, and folds instead of cutting on a narrower terminal."""
    layout: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": 0}
    return PlainTable(title=title, title_justify="left", **layout)
