"""Libraries of the extra ``claims``, imported where they are needed: they take a second, and 200 MB of disk."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import SweepError

EXTRA = "claims"


@contextmanager
def silenced() -> Iterator[list[warnings.WarningMessage]]:
    """Collect warnings in place of showing them: such as of what these libraries do that a later pandas will not
    allow."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def optional_library(module: str) -> Any:
    """Return a module of a library of the extra.

    Raises:
        SweepError: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise SweepError(
            f"claims: the package '{library}' is not installed; survival curves and mixed models are of the extra "
            f"'{EXTRA}': pip install 'unlearn-sweep[{EXTRA}]'; without it, the verdicts are in: unlearn-sweep report"
        ) from None
