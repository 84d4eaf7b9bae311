"""Nobody reaches for underscore names of another module, a dependency's included, but for those that are listed here.

The source is walked, since a graph of imports knows external packages by their roots alone.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.sources import is_ours, parsed

NEEDED = {
    ("orchestrator.cli.terminal", "_replace"): "of a named tuple: documented, with an underscore to leave names free",
    (
        "orchestrator.cluster.checks",
        "ray.autoscaler._private.util",
    ): "the schema that ray up checks cluster files by",
    ("orchestrator.resources.local_ray", "_exit"): "of os: documented; ends a process whose Ray hangs at exit",
    ("orchestrator.__main__", "_exit"): "of os: documented; Python would take apart all that was loaded for 0.8 s",
    ("orchestrator.resources.local_ray", "_temp_dir"): "of ray.init: nothing else says where a session's sockets lie",
    ("orchestrator.resources.local_ray", "ray._private"): "ray_constants: how long ray.init waits for its processes",
    ("orchestrator.resources.ray_environment", "ray._private"): "worker: the printer of log lines that ray.init starts",
    ("orchestrator.resources.ray_environment", "ray.air._internal"): "usage: trackers would be imported to be counted",
    (
        "trainables.distributed.parallel",
        "_reset_state",
    ): "of Accelerate: nothing else gives a process another precision",
}
"""Underscore names of other people's code, by the module that needs them, and why."""


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") and part != "_" for part in name.split("."))


def defined_in(tree: ast.Module) -> set[str]:
    """Return the names that a module gives: to functions, classes, variables and attributes."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
    return names


def foreign_private_names(tree: ast.Module) -> Iterator[str]:
    """Yield the underscore names of other modules that a module reaches for."""
    own = defined_in(tree)
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names, level=level):
                if is_private(module):
                    yield module
                elif level == 0:
                    yield from (alias.name for alias in names if is_private(alias.name))
            case ast.Import(names=names):
                yield from (alias.name for alias in names if is_private(alias.name))
            case ast.Attribute(attr=name) if is_private(name) and name not in own:
                yield name
            case ast.keyword(arg=str(name)) if is_private(name) and name not in own:
                yield name
            case ast.Call(args=[_, ast.Constant(value=str(name)), *_]):
                if ast.unparse(node.func) in {"getattr", "hasattr", "setattr", "delattr"} and is_private(name):
                    yield name


def test_only_the_private_names_that_are_needed_are_used() -> None:
    found = {(module, name) for module, tree in parsed().items() for name in foreign_private_names(tree)}
    assert found - NEEDED.keys() == set()
    assert NEEDED.keys() - found == set(), "no longer needed"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("from ray._private import worker", "ray._private"),
        ("import ray._private.worker", "ray._private.worker"),
        ("from optuna.samplers import _tpe", "_tpe"),
        ("study._storage.get_all_trials()", "_storage"),
        ("ray.init(_temp_dir='/tmp')", "_temp_dir"),
        ("class A:\n    def f(self):\n        return self._of_the_base_class", "_of_the_base_class"),
    ],
)
def test_the_guard_sees(code: str, name: str) -> None:
    assert list(foreign_private_names(ast.parse(code))) == [name]


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    def __init__(self):\n        self._own = 1\n    def f(self, other):\n        return other._own",
        "def _helper(): ...\n_helper()",
        "for _ in range(3): ...",
        "import sys\nsys.__stdout__",
    ],
)
def test_the_guard_lets_pass(code: str) -> None:
    assert list(foreign_private_names(ast.parse(code))) == []


def test_no_module_of_ours_is_private() -> None:
    assert [name for name in parsed() if is_private(name) and is_ours(name)] == []
