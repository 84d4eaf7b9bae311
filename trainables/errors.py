"""The errors of the science layer: a user's mistake, and results that cannot be kept."""

import difflib
from collections.abc import Iterable


class UnlearningError(ValueError):
    """A user's mistake: the message says where, what was found, what is allowed and what to do next."""


class DataWarning(UserWarning):
    """Something of a user's data was left out, as it was asked for."""


class ResultsError(Exception):
    """Rows or checkpoints cannot be kept where they should go. Nothing is wrong with the trial: it can go on later."""


def nearest_name_hint(found: str, allowed: Iterable[str]) -> str:
    """Say which names are allowed and, where one is close to ``found``, suggest it."""
    names = sorted(allowed)
    close = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    suggestion = f"did you mean '{close[0]}'? " if close else ""
    return f"{suggestion}allowed: {', '.join(names) or 'nothing'}"
