"""A local folder that appears under its name either complete or not at all."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import SweepError
from orchestrator.storage import sync

MARKER = "provenance.json"
"""A file in every exported folder: a folder with it may be replaced."""


def require_free(target: Path, *, overwrite: bool) -> None:
    """Check that a folder may be written there.

    Raises:
        SweepError: something is there that is not an earlier export, or one that may not be replaced.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / MARKER).is_file():
        raise SweepError(
            f"--to {target}: there is something else than an earlier export there (a folder with {MARKER}); give the "
            f"name of a new or an empty folder"
        )
    if not overwrite:
        raise SweepError(f"--to {target}: an earlier export is there; add --overwrite to replace it, or give another")


@contextlib.contextmanager
def new_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a hidden folder beside the target, which takes the target's name at the end of the block.

    By then everything in it is on disk, with the permissions that the umask gives to new files. An error removes it. A
    crash leaves it as ``.NAME.*.tmp``, and the target as it was; only a crash while an earlier export is being replaced
    may leave that export as ``.NAME.*.old`` instead.

    Raises:
        SweepError: see ``require_free``, which is checked before and after.
    """
    require_free(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{target.name}.{uuid.uuid4().hex[:8]}"
    aside, old = target.with_name(f"{stem}.tmp"), target.with_name(f"{stem}.old")
    aside.mkdir()
    try:
        yield aside
        _apply_umask(aside)
        for path in [*aside.rglob("*"), aside]:
            sync(path)
        require_free(target, overwrite=overwrite)
        if (target / MARKER).exists():
            target.rename(old)
        aside.rename(target)  # it replaces an empty folder, and nothing else
        sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _apply_umask(folder: Path) -> None:
    """Set the mode of every file to that of a newly created one: safetensors writes files that only the owner reads."""
    mode = folder.stat().st_mode & 0o666  # mkdir applied the umask; reading it would change it for other threads
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
