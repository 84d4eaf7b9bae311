"""How commands print: results to standard output, messages to standard error."""

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
    """Print '?' for a character that the locale's encoding lacks, instead of failing after the work is done."""
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
    """Write text for people to standard output, cleaned of control characters."""
    write(f"{clean(text)}{end}".encode())


def show_folded(text: str, *, indent: str = "") -> None:
    """Write lines to standard output; on a terminal they are folded between words, and paths stay whole.

    Not for commands: what a terminal folds by itself cuts words, but can be copied as one line.
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
    """Return a console on standard output; if that is no terminal, it is wide enough not to cut tables."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=160)


def say(message: str) -> None:
    """Write a message to standard error, cleaned of control characters."""
    err().print(message, soft_wrap=True)


def err() -> PlainConsole:
    """Return a console on standard error."""
    return PlainConsole(stderr=True, highlight=False)


def require_whole(*ledgers: "Ledger") -> None:
    """Exit with code 1 if damaged files were left out of the result, which was printed without them.

    Raises:
        typer.Exit: files were left out.
    """
    skipped = sum(len(ledger.skipped) for ledger in ledgers)
    if skipped:
        say(f"unlearn-sweep: {left_out(skipped)}")
        raise typer.Exit(1)


def left_out(skipped: int) -> str:
    """Return the message that some files are missing from a result."""
    many = "1 damaged file was" if skipped == 1 else f"{skipped} damaged files were"
    return f"{many} left out (see the warnings); the result covers the rest"


def quiet_optuna() -> None:
    """Silence what Optuna logs of every study and trial: our own progress shows it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
