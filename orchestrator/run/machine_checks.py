"""Checks of this machine, whatever the sweep: folders, limits and locale that Ray and models need."""

import locale
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from huggingface_hub import constants

from orchestrator.errors import SweepError
from orchestrator.resources import named_folders, obstacle_of, parent_folder

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # only looked at
ENOUGH_SHARED = 2**30
"""Bytes below which Ray's objects may not fit into shared memory."""
FEWEST_FILES = 1024
"""Open files that a small session needs."""


def _temporary_folder() -> str:
    """Check the folder of Ray's sockets and logs."""
    folder = parent_folder()
    passed = [f"{other} is passed over: {why}" for other in named_folders() if (why := obstacle_of(other)) is not None]
    return "; ".join([f"{folder}, {_gib(shutil.disk_usage(folder).free)} free", *passed])


def _shared_memory() -> str:
    """Check the memory that Ray's processes share."""
    if sys.platform != "linux":
        return "not needed here"
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError as error:
        raise SweepError(f"{SHARED_MEMORY}: {error.strerror}; Ray needs it: mount a tmpfs there") from None
    note = "" if free >= ENOUGH_SHARED else "; where that is too little, Ray uses the temporary folder, which is slower"
    return f"{_gib(free)} free{note}" + (" (docker run --shm-size=4g)" if note else "")


def _home() -> str:
    """Check the folder that models of the hub are kept in."""
    cache = Path(constants.HF_HOME)
    obstacle = _unwritable(cache)
    if obstacle is not None:
        raise SweepError(
            f"{cache}: {obstacle}; models and tokenizers of the hub are kept there: set HF_HOME, or HOME, to a folder "
            f"that you can write"
        )
    return f"{cache} can be written"


def _unwritable(folder: Path) -> str | None:
    """Return what keeps a folder, or its nearest parent that exists, from being written; None: nothing does."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"


def _limits() -> str:
    """Check the limits of the shell that are too low for Ray."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < FEWEST_FILES:
        raise SweepError(f"{files} open files at most; Ray needs {FEWEST_FILES}: ulimit -n {FEWEST_FILES}")
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY:
        raise SweepError(
            f"{_gib(space)} of address space at most; Ray and PyTorch reserve more than they use: ulimit -v unlimited"
        )
    return f"{'unlimited' if files == resource.RLIM_INFINITY else files} open files, unlimited address space"


def _locale() -> str:
    """Check which characters can be printed."""
    encoding = locale.getencoding() if not sys.flags.utf8_mode else "utf-8"
    if encoding.lower().replace("-", "") == "utf8":
        return encoding
    return f"{encoding}: characters that it lacks are printed as '?'; export LC_ALL=C.UTF-8 to see them"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


MACHINE_CHECKS: Mapping[str, Callable[[], str]] = {
    "temporary folder": _temporary_folder,
    "shared memory": _shared_memory,
    "home": _home,
    "limits": _limits,
    "locale": _locale,
}
"""The checks by name. Each returns what was found, or raises a ``SweepError`` with what to do."""
