"""A registry: entries by name, those that ship with this project, of plugin files, and of installed packages."""

from collections.abc import Mapping
from functools import cached_property
from typing import TypeVar

from trainables.errors import UnlearningError
from trainables.plugins.packages import PackageEntry, entries_of
from trainables.plugins.plugin_files import PluginFile, note_registered, run_waiting

Entry = TypeVar("Entry")


class Registry(dict[str, Entry]):
    """Entries by name.

    An installed package's entry is loaded when it is asked for by name. Until then ``in`` and ``names`` know it, and
    iteration passes it over: looking through the entries imports nothing.
    """

    def __init__(self, kind: str, entry_type: type[Entry], *, group: str, shipped: Mapping[str, Entry]) -> None:
        """Begin.

        Args:
            kind: what an entry is, as messages call it: ``objective``.
            entry_type: the class of its entries.
            group: the group of entry points by which packages add to it.
            shipped: the entries of this project.
        """
        super().__init__(shipped)
        self.kind = kind
        self.shipped: Mapping[str, Entry] = dict(shipped)
        """The entries of this project."""
        self._type = entry_type
        self._group = group
        self._origins: dict[str, PluginFile | PackageEntry] = {}

    @cached_property
    def _of_packages(self) -> dict[str, tuple[PackageEntry, ...]]:
        return entries_of(self._group)

    def names(self) -> list[str]:
        """Return all names, sorted. Nothing of a package is imported."""
        run_waiting()
        return sorted({*self, *self._of_packages})

    def origin(self, name: str) -> PluginFile | PackageEntry | None:
        """Return where an entry that was looked up comes from; None: from this project, or this process."""
        return self._origins.get(name) if dict.__contains__(self, name) else None

    def register(self, name: str, entry: Entry) -> None:
        """Add an entry.

        Raises:
            UnlearningError: the name is taken.
        """
        if dict.__contains__(self, name) or name in self._of_packages:
            raise UnlearningError(f"{self.kind} '{name}' is registered already; choose another name")
        self[name] = entry
        file = note_registered(self, name)
        if file is not None:
            self._origins[name] = file
        else:
            self._origins.pop(name, None)

    def load_all(self) -> dict[str, Entry]:
        """Return every entry by name, those of this project first. Every package that has one is imported.

        Raises:
            UnlearningError: one cannot be loaded, or several claim a name.
        """
        added = [name for name in self.names() if name not in self.shipped]
        return {name: self[name] for name in (*self.shipped, *added)}

    def __contains__(self, name: object) -> bool:
        if dict.__contains__(self, name) or name in self._of_packages:
            return True
        run_waiting()
        return dict.__contains__(self, name)

    def __getitem__(self, name: str) -> Entry:
        """Return an entry, which is imported if it is of a package.

        Raises:
            KeyError: there is none of this name.
            UnlearningError: it cannot be loaded, or several claim its name.
        """
        claims = self._of_packages.get(name, ())
        if claims and not (dict.__contains__(self, name) and self._origins.get(name) in claims):
            self._load(name, claims)
        elif not dict.__contains__(self, name):
            run_waiting()
        return super().__getitem__(name)

    def _load(self, name: str, claims: tuple[PackageEntry, ...]) -> None:
        if len(claims) > 1 or dict.__contains__(self, name):
            others = [str(claim) for claim in claims] + ["this project"] * (name in self.shipped)
            raise UnlearningError(
                f"{self.kind} '{name}': the name is taken more than once: by {' and by '.join(others)}; rename one, or "
                f"uninstall its package"
            )
        (claim,) = claims
        self[name] = claim.load(self.kind, self._type)
        self._origins[name] = claim
