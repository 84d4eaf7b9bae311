"""One hash of the code that a trial's numbers and a search's proposals follow from.

The modules are found by following imports from where trials are run, models are prepared and settings are proposed.
Comments, docstrings, formatting and the places of modules do not count. Another hash is a reason to look, not to
refuse: what refuses is ``IDENTITY_VERSION``, which rises when the same settings come to give other numbers.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

PACKAGES = ("orchestrator", "trainables", "search_spaces")
ROOTS = (
    ("orchestrator.preparation", "SweepInputs"),
    ("orchestrator.preparation", "build_workload"),
    ("orchestrator.search", "SweepSearch"),
    ("trainables.trial", "Engine"),
    ("trainables.trial", "TrialRun"),
)
"""What decides numbers and proposals, by room and name."""
_AFTERWARDS = "trainables.probes"
"""The room whose work is done once a trial has its numbers: only what a spec is checked by counts of it."""


def source_hash(root: Path | None = None) -> str:
    """Return the SHA-256, in hex, of the code that numbers and proposals follow from.

    Args:
        root: the folder of the three packages; by default that of this module.
    """
    return _hash(_deciding_trees(root).values())


def text_hash(texts: Iterable[bytes]) -> str:
    """Return the SHA-256, in hex, of the code of some modules in whatever order, hashed as ours is."""
    return _hash(map(ast.parse, texts))


def _hash(trees: Iterable[ast.Module]) -> str:
    codes = sorted(ast.unparse(_Bare().visit(tree)) for tree in trees)
    return hashlib.sha256("\0".join(codes).encode()).hexdigest()


def deciding_sources(root: Path | None = None) -> list[Path]:
    """Return the modules that numbers and proposals follow from, sorted by path."""
    return sorted(_deciding_trees(root))


def _deciding_trees(root: Path | None) -> dict[Path, ast.Module]:
    packages = _Packages(root or Path(__file__).parents[2])
    found: dict[Path, ast.Module] = {}
    waiting = [path for room, name in ROOTS for path in packages.providing(room, name)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = ast.parse(path.read_bytes())
            waiting.extend(packages.imported_by(found[path]))
    return found


class _Bare(ast.NodeTransformer):
    """Leaves out what a module can change in without computing anything else."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | None:
        """Drop docstrings, those of attributes included."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt | None:
        """Drop imports of our own modules."""
        return None if _is_ours(node.module) else node


class _Packages:
    """The modules of the three packages, and what each of them imports."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def _modules(self) -> dict[str, Path]:
        """Files by dotted name; a package's is its ``__init__.py``."""
        return {
            ".".join(path.relative_to(self._root).with_suffix("").parts).removesuffix(".__init__"): path
            for package in PACKAGES
            for path in (self._root / package).rglob("*.py")
        }

    def imported_by(self, tree: ast.Module) -> Iterator[Path]:
        """Yield the modules that a module imports, at once or by ``Deferred``."""
        for node in _running(tree):
            match node:
                case ast.ImportFrom(module=str(module)) if _is_ours(module):
                    for alias in node.names:
                        yield from self.providing(module, alias.name)
                case ast.Call(args=[ast.Constant(value=str(module)), ast.Constant(value=str(name))]):
                    if module in self._modules and not module.startswith(_AFTERWARDS):  # a Deferred
                        yield from self.providing(module, name)
                case ast.Call(args=[ast.Constant(value=str(module)), _]) if module in self._modules:
                    yield self._modules[module]  # a Deferred of some name in it
                case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]) if start.rstrip(".") in self._modules:
                    if start.startswith(_AFTERWARDS):
                        continue
                    yield from self._all_of(start.rstrip("."))  # one of them, which only running tells

    def providing(self, module: str, name: str) -> Iterator[Path]:
        """Yield the modules that ``from module import name`` takes the name from."""
        if f"{module}.{name}" in self._modules:
            yield self._modules[f"{module}.{name}"]
            return
        path = self._modules[module]
        stub = path.with_suffix(".pyi")
        if not stub.exists():
            yield path
            return
        for node in ast.parse(stub.read_bytes()).body:  # a lazy front door
            if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
                yield from self.providing(f"{module}.{node.module}" if node.module else module, name)

    def _all_of(self, package: str) -> Iterator[Path]:
        return (path for name, path in self._modules.items() if name.startswith(f"{package}."))


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module but for those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _running(node)


def _is_ours(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] in PACKAGES
