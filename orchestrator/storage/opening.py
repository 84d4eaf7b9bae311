"""The way from a location that a user gives to a storage."""

from pathlib import Path

from orchestrator.errors import SweepError
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.object_store import ObjectStorage
from orchestrator.storage.protocol import Storage
from orchestrator.storage.secret_uris import require_plain_storage


def open_storage(location: str) -> Storage:
    """Open a local folder or a URI.

    Raises:
        SweepError: no filesystem is installed for the URI's scheme, or the URI contains a secret.
    """
    require_plain_storage(location)
    scheme, separator, rest = location.partition("://")
    if not separator:
        return LocalStorage(Path(location).absolute())
    if scheme in ("file", "local"):
        return LocalStorage(Path("/" + rest.lstrip("/")))
    try:
        return ObjectStorage(location)
    except (ValueError, ImportError) as error:
        raise SweepError(
            f"storage '{location}': {error}; give a folder, or a URI whose fsspec package is installed"
        ) from None
