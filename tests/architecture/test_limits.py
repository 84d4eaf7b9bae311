"""Tests wait for events under the limits of tests/limits.py, and one process has all that start a cluster."""

import ast
from pathlib import Path

import pytest

from tests.conftest import CLUSTERS

TESTS = Path(__file__).parents[1]
NO_TESTS = {"ledger.py", "base_weights.py", "objectives.py", "soak.py"}
OWN_CLOCK = {"test_retries.py"}
FILES = sorted(path for path in TESTS.rglob("*.py") if path.name not in NO_TESTS | OWN_CLOCK)
PAUSE_S = 1.0
"""What is no longer is a pause between two looks, or a limit that the test wants to see exceeded."""
WAITS = {"timeout", "limit_s", "watch_s", "deadline"}


def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def seconds(call: ast.Call) -> list[float]:
    """Find the limits that a call states as numbers."""
    given = [keyword.value for keyword in call.keywords if keyword.arg in WAITS]
    if isinstance(call.func, ast.Attribute) and call.func.attr in {"wait", "join"}:
        given += call.args[:1]
    return [value.value for value in given if isinstance(value, ast.Constant) and type(value.value) in (int, float)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_limit_catches_what_hangs_and_judges_no_machine(path: Path) -> None:
    calls = [node for node in nodes(path) if isinstance(node, ast.Call)]
    own = {call.lineno: limits for call in calls if (limits := [s for s in seconds(call) if s > PAUSE_S])}
    assert own == {}, "by line: take HANG_S of tests/limits.py"


def test_what_may_start_a_cluster_is_where_one_process_has_it() -> None:
    found = set()
    for path in TESTS.rglob("test_*.py"):
        own = nodes(path)
        imports = [n for n in own if isinstance(n, ast.ImportFrom) and n.module == "tests.integration.helpers"]
        uses = {alias.name for node in imports for alias in node.names} & {"unlearn_sweep", "start", "COMMAND"}
        uses |= {n.arg for n in own if isinstance(n, ast.arg)} & {"ray_sweep"}
        uses |= {ast.unparse(n) for n in own if isinstance(n, ast.Attribute)} & {"ray.init"}
        if uses:
            found.add(str(path.relative_to(TESTS.parent)))
    own = {path for path in CLUSTERS if path.endswith(".py")}
    assert {path for path in found if not path.startswith("tests/e2e/")} == own, (
        "in tests/conftest.py; what needs no Ray takes call or start_inline of tests/integration/helpers.py"
    )
