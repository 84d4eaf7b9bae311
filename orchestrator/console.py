"""How commands speak: results to standard output, messages to standard error."""

import sys
from typing import Any

from orchestrator.plain import clean
from orchestrator.terminal import PlainConsole


def write(content: bytes) -> None:
    """Write to standard output, byte for byte."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_json(value: Any) -> None:
    """Write JSON to standard output."""
    from orchestrator.formats import as_json

    write(f"{as_json(value)}\n".encode())


def show(text: str, *, end: str = "\n") -> None:
    """Write text for people to standard output, cleaned."""
    write(f"{clean(text)}{end}".encode())


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


def quiet_optuna() -> None:
    """Leave what Optuna says of every study and trial to our own progress."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
