"""Text from elsewhere, made safe to print, to paste and to use as the name of a file.

A sweep's folder, a spec or a file of data may be somebody else's, and contain characters that a terminal obeys: they
set its title or the clipboard, reverse the direction of text, or forge lines. Output for programs (CSV, JSON, Parquet)
stays exact.
"""

import re
import shlex
import unicodedata
from collections.abc import Callable

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that are not shown but have an effect: control, format (bidirectional, zero
width), surrogates, separators of lines and paragraphs."""
_NOT_IN_DOUBLE_QUOTES = re.compile(r'["$`\\!]|[^ -~]')
_NOT_IN_FILE_NAME = re.compile(r"[^A-Za-z0-9 ._+=@-]|^\.+")


def clean(text: str) -> str:
    """Return a message with control characters written out, ``\\x1b`` for ESC; ends of lines and tabs stay."""
    return replace_obeyed(text, _written_out, keep="\n\t")


def one_line(text: str) -> str:
    """Return the text of a cell or a name, as ``clean`` does, with ends of lines and tabs written out too."""
    return replace_obeyed(text, _written_out)


def replace_obeyed(text: str, by: Callable[[str], str], *, keep: str = "") -> str:
    """Return the text with every character replaced that a terminal would obey, except those to keep."""
    if text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in _OBEYED else by(c) for c in text)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


def command(*words: str) -> str:
    """Return a command of this tool that can be pasted into a shell, with quotes where they are needed."""
    return shlex.join(["unlearn-sweep", *words])


def quoted_sql(sql: str) -> str:
    """Return SQL quoted for a shell: in double quotes, unless the shell would interpret what is inside."""
    return shlex.quote(sql) if _NOT_IN_DOUBLE_QUOTES.search(sql) else f'"{sql}"'


def sql_text(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def file_name(text: str) -> str:
    """Return the text as a name of a file or folder: it cannot lead elsewhere, and is no pattern."""
    return _NOT_IN_FILE_NAME.sub("_", text) or "_"
