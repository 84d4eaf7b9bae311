"""A folder of this machine that appears whole under its name, or not at all."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import SweepError
from orchestrator.storage import sync

MARKER = "provenance.json"
"""In every folder that was exported: what may be replaced."""


def require_free(target: Path, *, overwrite: bool) -> None:
    """See that a folder may be written there.

    Raises:
        SweepError: there is something, and it is not an earlier export that may be replaced.
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
    """Give a hidden folder beside the target that takes its name, with all that is in it on disk, when all went well.

    An error removes it. After a crash it is left, ``.NAME.*.tmp``, and nothing under the target's name that was not
    there before; but one that comes while an earlier export is replaced may leave that as ``.NAME.*.old`` alone.

    Raises:
        SweepError: see ``require_free``, which is asked before and after.
    """
    require_free(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{target.name}.{uuid.uuid4().hex[:8]}"
    aside, old = target.with_name(f"{stem}.tmp"), target.with_name(f"{stem}.old")
    aside.mkdir()
    try:
        yield aside
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
