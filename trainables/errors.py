"""The errors of the science layer: a user's mistake, and results that cannot be stored."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake: the message says where, what was found, what is allowed and what to do next. Exit code 2."""


class UnlearningError(UserError, ValueError):
    """A user's mistake in data, model or settings. As a ``ValueError`` it may be raised where pydantic validates."""


class DataWarning(UserWarning):
    """A part of the user's data was left out, as the user asked."""


class ResultsError(Exception):
    """Rows or checkpoints cannot be stored. Nothing is wrong with the trial, which can be resumed later."""


_SHORT_NAMES = {
    "adam": "adamw", "bs": "batch_size", "grad_diff": "gradient_difference", "kl": "kl_ascent", "max_steps": "steps",
    "lr": "learning_rate", "pop": "population", "reps": "repetitions", "wd": "weight_decay",
}  # fmt: skip
"""Common names and abbreviations of the field, each with the name that is used here."""


def nearest_name_hint(found: str, allowed: Iterable[str]) -> str:
    """Return a hint for an error message: the allowed name that ``found`` resembles, if any, and all allowed names."""
    names = sorted(allowed)
    nearest = _nearest_name(found.strip().lower().replace("-", "_"), names)
    suggestion = f"did you mean '{nearest}'? " if nearest is not None else ""
    return f"{suggestion}allowed: {', '.join(names) or 'nothing'}"


def _nearest_name(found: str, names: list[str]) -> str | None:
    if _SHORT_NAMES.get(found) in names:
        return _SHORT_NAMES[found]
    initials = [name for name in names if "_" in name and found == "".join(part[:1] for part in name.split("_"))]
    if len(initials) == 1:
        return initials[0]
    close = difflib.get_close_matches(found, [name.lower() for name in names], n=1, cutoff=0.5)
    return next((name for name in names if close and name.lower() == close[0]), None)
