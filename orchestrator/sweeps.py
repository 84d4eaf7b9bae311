"""Find a sweep where the user says it is. Light: reading results waits for no model library."""

import pyarrow.fs
import yaml

from orchestrator.errors import SweepError
from orchestrator.ledger import SPEC, Ledger
from orchestrator.storage import open_storage

DEFAULT_STORAGE = "sweeps"


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
        f"no sweep at {' or '.join(places)}: there is no {SPEC}; "
        f"give a sweep's name, with --storage if it is not in {DEFAULT_STORAGE}/, or its own folder or URI"
    )


def sweeps_in(storage: str) -> list[str]:
    """List the sweeps that a storage holds: their folders' URIs, by name."""
    root = open_storage(storage)
    filesystem, path = root.arrow()
    entries = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    folders = sorted(entry.base_name for entry in entries if entry.type == pyarrow.fs.FileType.Directory)
    return [root.child(name).uri for name in folders if root.read(f"{name}/{SPEC}") is not None]


def _name(text: bytes, where: str) -> str:
    try:
        return str(yaml.safe_load(text)["name"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise SweepError(f"{where}: not the spec of a sweep, which has a name ({error!r}); is it damaged?") from None
