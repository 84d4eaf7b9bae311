"""Which libraries the packages and their modules may know; the order of the rooms is in ``test_rooms``."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import grimp
import pytest

from tests.architecture.sources import PACKAGES, parsed
from trainables.deferred import Deferred


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def importers(graph, external):
    return {module for module in graph.modules if module != external and external in imported_roots(graph, module)}


def imported_roots(graph, module):
    return {name.partition(".")[0] for name in graph.find_modules_directly_imported_by(module)}


@pytest.mark.parametrize("package", ["search_spaces", "trainables"])
def test_the_lower_packages_import_no_other_package_of_ours(graph, package):
    others = set(PACKAGES) - {package}
    found = {
        (module, other)
        for module in graph.find_descendants(package) | {package}
        for other in imported_roots(graph, module) & others
    }
    assert found == set()


def test_the_orchestrator_composes_both(graph):
    roots = set().union(*(imported_roots(graph, module) for module in graph.find_descendants("orchestrator")))
    assert {"search_spaces", "trainables"} <= roots


def test_inside_trainables_only_the_ray_wrappers_import_ray(graph):
    found = {module for module in importers(graph, "ray") if module.startswith("trainables.")}
    assert "trainables.tune.narrow" in found
    assert {module for module in found if not module.startswith("trainables.tune.")} == set()


@pytest.mark.parametrize("library", ["optuna", "pyarrow", "duckdb", "typer", "rich"])
def test_trainables_know_no_sweep_library(graph, library):
    assert library in graph.modules, "the check would be empty"
    assert {module for module in importers(graph, library) if module.startswith("trainables")} == set()


@pytest.mark.parametrize("library", ["ray", "torch", "pyarrow", "pydantic"])
def test_search_spaces_stay_light(graph, library):
    assert library in graph.modules, "the check would be empty"
    assert {module for module in importers(graph, library) if module.startswith("search_spaces")} == set()


def test_reading_results_loads_no_model_library():
    """Whoever asks a ledger waits for DuckDB and Arrow, not for PyTorch, Transformers, Ray or Optuna."""
    reading = ", ".join(
        f"orchestrator.{name}" for name in ("cli.app", "query.sql", "query.results", "query.formats", "cli.tables")
    )
    heavy = "{'torch', 'transformers', 'accelerate', 'ray', 'optuna', 'scipy'}"
    code = f"import sys, {reading}; print(*sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_report_loads_no_ray():
    code = "import sys, orchestrator.report.page; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_function_that_is_imported_late_is_there():
    """No import of a module shows that such a name is wrong, and no type checker does."""
    calls = [
        node
        for tree in parsed().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Deferred"
    ]
    named = [[a.value for a in call.args] for call in calls if all(isinstance(a, ast.Constant) for a in call.args)]
    assert len(named) > 5
    assert [name for name in named if not callable(Deferred(*name).resolve())] == []


def test_there_is_no_cycle(graph):
    ours = {name for name in graph.modules if name.partition(".")[0] in PACKAGES}
    edges = {module: graph.find_modules_directly_imported_by(module) & ours for module in ours}
    order = list(TopologicalSorter(edges).static_order())  # raises CycleError, naming the cycle
    assert set(order) == ours
    assert len(ours) > 30
