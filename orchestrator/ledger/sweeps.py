"""Finding sweeps by name, folder or URI. Loads no model library, so that reading results is quick."""

import difflib

import pyarrow.fs

from orchestrator.errors import IrregularFileError, StorageError, SweepError
from orchestrator.ledger.layout import SPEC
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage import open_storage
from orchestrator.yaml_text import parse_yaml, text_of

DEFAULT_STORAGE = "sweeps"
_SHOWN = 8
"""Sweeps that a message lists."""


def open_sweep(sweep: str, storage: str = DEFAULT_STORAGE) -> Ledger:
    """Open a sweep by its name under the storage, or by its own folder or URI.

    Raises:
        SweepError: there is no sweep there.
    """
    places = [sweep] if "/" in sweep else [f"{storage.rstrip('/')}/{sweep}", sweep]
    for place in places:
        folder = open_storage(place)
        text = folder.read(SPEC)
        if text is not None:
            return Ledger(storage=folder, sweep=_name(text, f"{folder.uri}/{SPEC}"))
    raise SweepError(
        f"no sweep at {' or '.join(places)}: there is no {SPEC}; {_others(sweep, storage)}"
        f"give a sweep's name, with --storage if it is not in {DEFAULT_STORAGE}/, or its own folder or URI"
    )


def _others(sweep: str, storage: str) -> str:
    """Return a clause that lists the sweeps where one was looked for, the nearest names first."""
    parent, _, name = sweep.rstrip("/").rpartition("/")
    place = parent or storage
    try:
        names = [found.rpartition("/")[2] for found in sweeps_in(place)]
    except (SweepError, StorageError, OSError, ValueError):
        return ""  # an error there would hide the one that is reported
    if not names:
        return f"there is none in {place}; "
    near = difflib.get_close_matches(name, names, n=len(names), cutoff=0.0)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there are, in {place}: {', '.join(near[:_SHOWN])}{more}; "


def sweeps_in(storage: str) -> list[str]:
    """Return the URIs of the sweeps that a storage holds, by name."""
    root = open_storage(storage)
    filesystem, path = root.arrow()
    entries = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    folders = sorted(entry.base_name for entry in entries if entry.type == pyarrow.fs.FileType.Directory)
    return [place for name in folders if _is_sweep(place := f"{root.uri}/{name}")]


def _name(content: bytes, where: str) -> str:
    name = parse_yaml(text_of(content, where), where).get("name")
    if not isinstance(name, str):
        raise SweepError(f"{where}: not the spec of a sweep, which has a name (found {name!r}); is it damaged?")
    return name


def _is_sweep(place: str) -> bool:
    """Return whether there is a spec, also one that is a link or that this user may not read."""
    try:
        return open_storage(place).read(SPEC) is not None
    except StorageError as error:
        if isinstance(error, IrregularFileError) or isinstance(error.__cause__, PermissionError):
            return True
        raise
