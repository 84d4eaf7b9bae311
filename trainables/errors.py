"""The error for a user's mistake inside the science layer."""

import difflib
from collections.abc import Iterable


class UnlearningError(ValueError):
    """A user's mistake: the message says where, what was found, what is allowed and what to do next."""


def nearest_name_hint(found: str, allowed: Iterable[str]) -> str:
    """Say which names are allowed and, where one is close to ``found``, suggest it."""
    names = sorted(allowed)
    close = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    suggestion = f"did you mean '{close[0]}'? " if close else ""
    return f"{suggestion}allowed: {', '.join(names) or 'nothing'}"
