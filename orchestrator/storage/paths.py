"""Paths inside a storage: relative POSIX paths that cannot lead out of it, whatever file they were read from."""

from orchestrator.errors import SweepError


def checked_path(path: str) -> str:
    """Return the path, if it stays inside the folder that it is relative to.

    Raises:
        SweepError: it is absolute, or has an empty, ``.`` or ``..`` segment, a backslash or a null character.
    """
    if "\\" in path or "\0" in path or any(segment in {"", ".", ".."} for segment in path.split("/")):
        raise SweepError(
            f"path {path!r}: it could lead out of its folder; "
            "give a relative path of plain names between single slashes, like 'trials/0123.parquet'"
        )
    return path
