"""How a command ends: errors become one message and an exit code, warnings become messages.

Exit codes: 0 done; 1 stopped, failed, or a part of the result is missing; 2 a user's mistake; 128 + N ended by
signal N.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO

from orchestrator.cli.console import err, say
from orchestrator.errors import LedgerWarning, RunStoppedError
from orchestrator.safe_text import clean
from trainables.errors import DataWarning, UserError


def show_our_warnings() -> None:
    """Print each of our own warnings as a message; other warnings look as Python shows them."""
    warnings.showwarning = _show_warning
    for category in (LedgerWarning, DataWarning):
        warnings.simplefilter("always", category)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning: one of our own as a message, another as Python does. See ``warnings.showwarning``."""
    if issubclass(category, LedgerWarning | DataWarning):
        say(f"unlearn-sweep: {message}")
    else:
        (file or sys.stderr).write(clean(warnings.formatwarning(message, category, filename, lineno, line)))


def run_to_exit_code(app: Callable[[], Any]) -> None:
    """Run the app. An expected error prints one message and exits with the code of its kind."""
    try:
        app()
    except UserError as error:
        say(f"unlearn-sweep: {error}")
        sys.exit(2)
    except RunStoppedError as error:
        say(f"unlearn-sweep: {error}")
        sys.exit(1)
    except MemoryError as error:
        say(f"unlearn-sweep: this machine has too little memory for this ({error}); nothing was changed")
        sys.exit(1)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        err().print(f"unlearn-sweep:{place} {error.strerror or error}", soft_wrap=True)
        sys.exit(1)
