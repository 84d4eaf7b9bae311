"""Entry points of installed packages: known by name from their metadata, imported when an entry is asked for."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.errors import UnlearningError


@dataclass(frozen=True, kw_only=True)
class PackageEntry:
    """One entry point of an installed package."""

    package: str
    version: str
    entry_point: EntryPoint

    def __str__(self) -> str:
        point = self.entry_point
        return f"the entry point '{point.name} = {point.value}' of the package {self.package} {self.version}"

    def source(self) -> bytes | None:
        """Return the source of the module that it names; None where there is none to read."""
        spec = find_spec(self.entry_point.module)
        path = None if spec is None or spec.origin is None else Path(spec.origin)
        return path.read_bytes() if path is not None and path.suffix == ".py" else None

    def load(self, kind: str, wanted: type) -> Any:
        """Import what it names.

        Args:
            kind: of the registry, for messages.
            wanted: the class of the registry's entries.

        Raises:
            UnlearningError: it cannot be imported, or is something else.
        """
        at = f"{kind} '{self.entry_point.name}': {self}"
        try:
            entry = self.entry_point.load()
        except (Exception, SystemExit) as error:
            raise UnlearningError(
                f"{at} cannot be loaded ({type(error).__name__}: {error}); repair or uninstall that package"
            ) from error
        if not isinstance(entry, wanted):
            raise UnlearningError(
                f"{at} is of type {type(entry).__name__}, and has to be an instance of "
                f"{wanted.__module__}.{wanted.__qualname__}; repair or uninstall that package"
            )
        return entry


def entries_of(group: str) -> dict[str, tuple[PackageEntry, ...]]:
    """Return the entry points of a group by name, from metadata alone; of a name, all packages that claim it."""
    found: dict[str, tuple[PackageEntry, ...]] = {}
    for point in entry_points(group=group):
        package, version = ("unknown", "") if point.dist is None else (point.dist.name, point.dist.version)
        entry = PackageEntry(package=package, version=version, entry_point=point)
        found[point.name] = (*found.get(point.name, ()), entry)
    return found
