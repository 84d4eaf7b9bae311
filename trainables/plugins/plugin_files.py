"""Plugin files: Python files that a user names on the command line, and that register entries when they are run.

A file travels by value. A process that unpickles one (a worker on another machine, a spawned process) knows of it from
then on, and runs it as soon as a registry is asked for a name that it does not know otherwise. So a mistake in it, or
a module that it lacks there, is raised by what needs the name, and not by whatever unpickled it.
"""

import hashlib
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, Protocol

from trainables.errors import UnlearningError, UserError

_LOCK = threading.RLock()


class Registering(Protocol):
    """A registry, as what registers sees it."""

    kind: str

    def pop(self, name: str, /) -> Any:
        """Remove an entry and return it."""


@dataclass(frozen=True, kw_only=True)
class PluginFile:
    """One plugin file, with its content."""

    name: str
    """Its name without folder: by it messages and ``sweep.json`` call it."""
    path: str
    """Where it was read, for tracebacks and debuggers. On another machine there is no such file."""
    source: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of its content, in hex."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def provides(self) -> dict[str, list[str]]:
        """Names that it has registered in this process, by kind of registry."""
        provided: dict[str, list[str]] = {}
        for registry, name in _RAN.get(self.sha256, ()):
            provided.setdefault(registry.kind, []).append(name)
        return {kind: sorted(names) for kind, names in provided.items()}

    def run(self) -> None:
        """Run it as a module, once in a process.

        Raises:
            UnlearningError: it cannot be run, or registers nothing. What it had registered is taken back.
        """
        with _LOCK:
            if self.sha256 in _RAN:
                return
            with _recording(self) as registered:
                self._execute()
                if not registered:
                    del sys.modules[self._module]
                    raise UnlearningError(
                        f"plugin file {self.path}: it registers nothing; call "
                        f"trainables.objectives.register(name, objective) or "
                        f"trainables.metrics.register(name, metric) in it"
                    )
                _RAN[self.sha256] = tuple(registered)

    @property
    def _module(self) -> str:
        return f"unlearn_sweep_plugin_{self.sha256[:16]}"

    def _execute(self) -> None:
        spec = spec_from_loader(self._module, _Loader(self))
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[self._module] = module  # where dataclasses and pydantic look up what annotations name
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[self._module]
            raise UnlearningError(f"plugin file {self._place(error)}: {_reason(error)}") from error

    def _place(self, error: BaseException) -> str:
        """Return the path, and the line at which it failed where there is one."""
        if isinstance(error, SyntaxError) and error.filename == self.path:
            return f"{self.path}, line {error.lineno}"
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self.path]
        return f"{self.path}, line {lines[-1]}" if lines else self.path

    def __reduce__(self) -> tuple[Any, ...]:
        return _enlist, (self.name, self.path, self.source)


_WAITING: dict[str, PluginFile] = {}
"""Files that came from another process and were not run yet, by SHA-256."""
_RAN: dict[str, tuple[tuple[Registering, str], ...]] = {}
"""What each file that was run has registered, by its SHA-256."""
_running: ContextVar[tuple[PluginFile, list[tuple[Registering, str]]] | None] = ContextVar("_running", default=None)
"""The file that is being run, and what it has registered so far."""


class _Loader(SourceLoader):
    """Loads a file's content, so that tracebacks and ``inspect`` show its lines on every machine."""

    def __init__(self, file: PluginFile) -> None:
        self._file = file

    def get_filename(self, fullname: str) -> str:
        """Return where the file was read."""
        return self._file.path

    def get_data(self, path: str) -> bytes:
        """Return the content of the file."""
        return self._file.source


def read_plugins(paths: Iterable[str | Path]) -> tuple[PluginFile, ...]:
    """Read plugin files without running them.

    Raises:
        UnlearningError: one cannot be read, is no Python file, or has the name of another.
    """
    found: dict[str, PluginFile] = {}
    for path in map(Path, paths):
        if path.suffix != ".py":
            raise UnlearningError(f"--plugin {path}: expected a Python file, FILE.py")
        if path.name in found:
            raise UnlearningError(
                f"--plugin {path}: plugin files are told apart by their names, and {found[path.name].path} has the "
                f"same; give each once, or rename one"
            )
        try:
            source = path.read_bytes()
        except OSError as error:
            raise UnlearningError(f"--plugin {path}: {error.strerror}; give a Python file") from None
        found[path.name] = PluginFile(name=path.name, path=str(path.absolute()), source=source)
    return tuple(found.values())


def load_plugins(paths: Iterable[str | Path]) -> tuple[PluginFile, ...]:
    """Read plugin files and run them in this process, in their order.

    Raises:
        UnlearningError: one cannot be read or run, or registers nothing, or a name that is taken.
    """
    files = read_plugins(paths)
    for file in files:
        file.run()
    return files


def run_waiting() -> None:
    """Run the files that came to this process by unpickling, unless one of them is being run.

    Raises:
        UnlearningError: one cannot be run.
    """
    if not _WAITING or _running.get() is not None:
        return
    with _LOCK:
        for sha256, file in list(_WAITING.items()):
            file.run()
            _WAITING.pop(sha256, None)


def note_registered(registry: Registering, name: str) -> PluginFile | None:
    """Take note of a new entry; return the file that is being run, which it is of. None: no file is."""
    running = _running.get()
    if running is None:
        return None
    file, registered = running
    registered.append((registry, name))
    return file


@contextmanager
def _recording(file: PluginFile) -> Iterator[list[tuple[Registering, str]]]:
    """Yield the list of what the file registers while the block runs; take it back where the block fails."""
    registered: list[tuple[Registering, str]] = []
    token = _running.set((file, registered))
    try:
        yield registered
    except BaseException:
        for registry, name in registered:
            registry.pop(name)
        raise
    finally:
        _running.reset(token)


def _enlist(name: str, path: str, source: bytes) -> PluginFile:
    """Return a file that came from another process, and have it run when a name is looked up."""
    file = PluginFile(name=name, path=path, source=source)
    if file.sha256 not in _RAN:
        _WAITING[file.sha256] = file
    return file


def _reason(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if isinstance(error, ImportError):
        reason += (
            "; a plugin is one file, and imports what is installed on every machine: install that, or make a package "
            "with an entry point of what has several modules"
        )
    return reason
