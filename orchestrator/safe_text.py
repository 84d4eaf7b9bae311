"""Text that came from elsewhere, made safe to print, to paste and to use as a name of a file.

A sweep's folder, a spec or a file of data may be somebody else's, and hold what a terminal obeys: a title, the
clipboard, text that runs the other way, lines that are not there. What is meant for programs (CSV, JSON, Parquet) stays
exact.
"""

import re
import shlex
import unicodedata
from collections.abc import Callable

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what is not shown but does something: control, format (bidirectional, of no width),
surrogates, separators of lines and paragraphs."""
_NOT_IN_DOUBLE_QUOTES = re.compile(r'["$`\\!]|[^ -~]')
_NOT_IN_FILE_NAME = re.compile(r"[^A-Za-z0-9 ._+=@-]|^\.+")


def clean(text: str) -> str:
    """Return a message with what a terminal would obey written out, ``\\x1b`` for ESC; ends of lines and tabs stay."""
    return replace_obeyed(text, _written_out, keep="\n\t")


def one_line(text: str) -> str:
    """Return the text of a cell or a name: as ``clean``, with ends of lines and tabs written out too."""
    return replace_obeyed(text, _written_out)


def replace_obeyed(text: str, by: Callable[[str], str], *, keep: str = "") -> str:
    """Replace every character that a terminal would obey, but those to keep."""
    if text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in _OBEYED else by(c) for c in text)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


def command(*words: str) -> str:
    """Return a command of this tool that can be pasted into a shell, every word quoted that needs it."""
    return shlex.join(["unlearn-sweep", *words])


def quoted_sql(sql: str) -> str:
    """Quote SQL for a shell: in double quotes, which leave its own as they are, unless the shell would look inside."""
    return shlex.quote(sql) if _NOT_IN_DOUBLE_QUOTES.search(sql) else f'"{sql}"'


def sql_text(text: str) -> str:
    """Write a text as SQL does."""
    return "'" + text.replace("'", "''") + "'"


def file_name(text: str) -> str:
    """Return a name for a file or a folder that is one: no way out of where it stands, and no pattern."""
    return _NOT_IN_FILE_NAME.sub("_", text) or "_"
