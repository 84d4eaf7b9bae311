"""The rooms of the house: their order, their front doors, their size. HOUSE.md draws the same."""

import ast
import importlib

import grimp
import pytest

from tests.architecture.sources import PACKAGES, REPOSITORY, is_ours, parsed

ORDERS = {
    "orchestrator": """
        __main__ > cli > run | export | cluster | probing > plan | report | monitor > points | claims > preparation
        > search | resources | frontier > spec | query > ledger > driver > storage
        > yaml_text > identity + errors + durations + pareto + safe_text
    """,
    "trainables": """
        tune > probes | trial > objectives | optim | preparation > metrics > encoding > models
        > distributed | data > failures > records > config > plugins
        > errors + seeding + torch_seeding + deferred + paths
    """,
}
"""``a > b``: a may import b and all that stands right of it. ``a | b``: neither imports the other. ``a + b``: side by
side, and free to."""
MOST_MODULES = 13
MOST_LINES = 300


def layers(order: str) -> list[grimp.Layer]:
    parts = [part.split() for part in order.split(">")]
    return [grimp.Layer(*(name for name in part if name not in "|+"), independent="+" not in part) for part in parts]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Imports as they are written, and those that ``Deferred`` makes when it is called."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    for module, tree in parsed().items():
        for room, _ in deferred(tree):
            graph.add_import(importer=module, imported=room)
    return graph


def deferred(tree: ast.Module) -> list[tuple[str, str]]:
    """Return what a module imports when it is first called: where it is, and its name."""
    return [
        (call.args[0].value, ast.unparse(call.args[1]))
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Deferred"
        if isinstance(call.args[0], ast.Constant) and is_ours(call.args[0].value)
    ]


@pytest.mark.parametrize("package", ORDERS)
def test_imports_run_one_way_through_the_rooms(graph: grimp.ImportGraph, package: str) -> None:
    broken = graph.find_illegal_dependencies_for_layers(layers=layers(ORDERS[package]), containers={package})
    found = [(route.heads, route.tails) for dependency in broken for route in dependency.routes]
    assert found == []


@pytest.mark.parametrize("package", ORDERS)
def test_every_room_has_its_place_in_the_order(package: str) -> None:
    ordered = {name for layer in layers(ORDERS[package]) for name in layer.module_tails}
    there = {
        path.stem
        for path in (REPOSITORY / package).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__"} == ordered


def room_of(module: str) -> str:
    """Return the room of a module; of one that stands in none its own name."""
    return ".".join(module.split(".")[:2]) if not module.startswith("search_spaces") else "search_spaces"


def is_package(name: str) -> bool:
    return (REPOSITORY / name.replace(".", "/") / "__init__.py").exists()


def test_rooms_are_entered_by_their_front_door() -> None:
    """Whoever stands outside a room names the room alone, never a module of it."""
    entered = [
        (module, target)
        for module, tree in parsed().items()
        for target in [
            *(node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and is_ours(node.module)),
            *(alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names),
            *(room for room, _ in deferred(tree)),
        ]
        if is_ours(target) and is_package(room_of(target)) and room_of(target) != room_of(module)
    ]
    assert len(entered) > 200
    assert [(module, target) for module, target in entered if target != room_of(target)] == []


FRONT_DOORS = sorted(name for name in parsed(".pyi") if is_package(name))


@pytest.mark.parametrize("room", FRONT_DOORS)
def test_a_front_door_opens_to_what_it_lists(room: str) -> None:
    front = importlib.import_module(room)
    modules = {path.stem for path in (REPOSITORY / room.replace(".", "/")).iterdir()}
    (listed,) = (
        ast.literal_eval(node.value)
        for node in parsed(".pyi")[room].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert sorted(listed) == sorted(front.__all__)
    assert [name for name in listed if getattr(front, name, None) is None] == []
    namespaces = {
        alias.name
        for node in parsed(".pyi")[room].body
        if isinstance(node, ast.ImportFrom) and node.module is None
        for alias in node.names
    }
    assert (set(listed) & modules) == namespaces, "whether a module or its namesake is meant depends on what was loaded"


def test_what_a_front_door_lists_is_used_outside() -> None:
    """Of the rooms that are this package's own business; the others are what users import."""
    offered = {(room, name) for room in FRONT_DOORS for name in importlib.import_module(room).__all__}
    wanted = {
        (node.module, alias.name)
        for tree in parsed().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    wanted |= {(room, name.strip("'")) for tree in parsed().values() for room, name in deferred(tree)}
    public = {"trainables.objectives", "search_spaces", "trainables.config", "trainables.metrics", "trainables.probes"}
    assert {(room, name) for room, name in offered - wanted if room not in public} == set()


@pytest.mark.parametrize("room", [name for name in parsed() if is_package(name)])
def test_a_room_says_what_lives_there_and_holds_no_more_than_one_can_oversee(room: str) -> None:
    folder = REPOSITORY / room.replace(".", "/")
    assert ast.get_docstring(parsed()[room])
    assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= MOST_MODULES


def test_no_module_is_longer_than_one_reads_at_once() -> None:
    paths = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    assert {path.name: lines for path in paths if (lines := len(path.read_text().splitlines())) > MOST_LINES} == {}


def test_docstrings_of_functions_name_what_they_do_or_return() -> None:
    """HOUSE.md, Language: "Return the ...", not "Give ...", "Say ...", "Tell whether ..."."""
    begins = {
        (module, node.name): docstring
        for module, tree in parsed().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (docstring := ast.get_docstring(node))
    }
    assert len(begins) > 1000
    assert {
        k: v for k, v in begins.items() if v.startswith(("Give ", "Gives ", "Say ", "Says ", "Tell whether "))
    } == {}
