"""How commands speak: results to standard output, messages to standard error."""

import io
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.cli.terminal import PlainConsole
from orchestrator.safe_text import clean

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger


def print_whatever_the_locale() -> None:
    """Let a character that the locale's encoding lacks be printed as '?', not end a command whose work is done."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def write(content: bytes) -> None:
    """Write to standard output, byte for byte."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_json(value: Any) -> None:
    """Write JSON to standard output."""
    from orchestrator.query import as_json

    write(f"{as_json(value)}\n".encode())


def show(text: str, *, end: str = "\n") -> None:
    """Write text for people to standard output, cleaned."""
    write(f"{clean(text)}{end}".encode())


def show_folded(text: str, *, indent: str = "") -> None:
    """Write lines without commands to standard output; on a terminal they fold between words, paths stay whole.

    A terminal that folds by itself cuts words, yet what it folded can be copied: right for commands alone.
    """
    if sys.stdout.isatty():
        fold = textwrap.TextWrapper(
            shutil.get_terminal_size().columns,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        text = "\n".join(fold.fill(line) for line in text.splitlines())
    show(text)


def out() -> PlainConsole:
    """Open standard output; where it is no terminal, wide enough not to cut tables."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=160)


def say(message: str) -> None:
    """Write a message to standard error, cleaned."""
    err().print(message, soft_wrap=True)


def err() -> PlainConsole:
    """Open standard error."""
    return PlainConsole(stderr=True, highlight=False)


def require_whole(*ledgers: "Ledger") -> None:
    """End a command that left damaged files out of its result: it is there, and the exit code says that it is a part.

    Raises:
        typer.Exit: with code 1.
    """
    skipped = sum(len(ledger.skipped) for ledger in ledgers)
    if skipped:
        say(f"unlearn-sweep: {left_out(skipped)}")
        raise typer.Exit(1)


def left_out(skipped: int) -> str:
    """Say that a result is of a part of the files."""
    many = "1 damaged file was" if skipped == 1 else f"{skipped} damaged files were"
    return f"{many} left out, named in a warning each; the result is of the rest"


def quiet_optuna() -> None:
    """Leave what Optuna says of every study and trial to our own progress."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
