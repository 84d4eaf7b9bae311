"""Files of installed Python packages, named ``package:NAME/file``. The packages are not imported."""

from collections.abc import Iterable
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from trainables.errors import UnlearningError
from trainables.paths import PACKAGE_PREFIX


def package_file(name: str) -> Path | None:
    """Return the path of the file that ``package:NAME/file`` names; None: the name is not of this form.

    Raises:
        UnlearningError: the name is malformed or leads out of the package, or the package is not installed.
    """
    if not name.startswith(PACKAGE_PREFIX):
        return None
    package, _, file = name.removeprefix(PACKAGE_PREFIX).partition("/")
    parts = PurePosixPath(file).parts
    if not all(part.isidentifier() for part in package.split(".")) or not parts or {"..", "/"} & set(parts):
        raise UnlearningError(
            f"model.pretrained: '{name}' is not a file of a Python package; write package:NAME/file.gguf, with the "
            f"name that Python imports and a path within the package"
        )
    folders = _folders(package)
    if not folders:
        raise UnlearningError(
            f"model.pretrained: '{name}' needs the Python package '{package.replace('_', '-')}', which is not "
            f"installed; install it"
        )
    files = [Path(folder, *parts) for folder in folders]
    return next((found for found in files if found.is_file()), files[0])


def _folders(package: str) -> list[str]:
    """Return the folders of a package, looked up part by part: ``find_spec`` of a dotted name would import parents."""
    first, *inner = package.split(".")
    try:
        folders = _within(find_spec(first))
    except ValueError:  # a module without a spec
        return []
    for part in inner:
        folders = _within(PathFinder.find_spec(part, folders))
    return folders


def _within(found: object) -> list[str]:
    places: Iterable[str] | None = getattr(found, "submodule_search_locations", None)
    return list(places or ())
