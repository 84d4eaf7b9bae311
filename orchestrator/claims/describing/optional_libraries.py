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


class MissingLibraryError(SweepError):
    """A library of the extra is not installed."""


def optional_library(module: str) -> Any:
    """Return a module of a library of the extra.

    Raises:
        MissingLibraryError: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise MissingLibraryError(
            f"survival curves and mixed models are left out: the package '{library}' of the extra '{EXTRA}' is not "
            f"installed: pip install 'unlearn-sweep[{EXTRA}]'"
        ) from None
