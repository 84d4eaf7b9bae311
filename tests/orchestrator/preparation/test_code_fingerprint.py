"""Which code numbers follow from, and what of it counts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.preparation.code_fingerprint import PACKAGES, deciding_sources, source_hash

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def names() -> set[str]:
    return {path.relative_to(REPOSITORY).as_posix() for path in deciding_sources()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_what_computes_and_proposes_counts(names: set[str]) -> None:
    assert {
        "orchestrator/pareto.py",  # the Gaussian process ranks by it
        "orchestrator/identity.py",
        "orchestrator/search/sampling/gaussian_process.py",  # imported when a study first asks it
        "trainables/objectives/preferences.py",  # by a name that is put together
        "trainables/optim/builders.py",  # by a name that is handed on
        "search_spaces/dimensions.py",
    } <= names


def test_what_shows_and_starts_does_not_count(names: set[str]) -> None:
    rooms = ("cli", "report", "frontier", "cluster", "export", "monitor", "query", "run", "plan")
    assert [name for name in names if name.startswith(tuple(f"orchestrator/{room}/" for room in rooms))] == []


def test_of_probes_only_what_checks_a_spec_counts(names: set[str]) -> None:
    assert "trainables/probes/registry.py" in names
    assert "trainables/probes/relearning.py" not in names


def test_all_that_is_loaded_to_run_a_trial_counts(names: set[str]) -> None:
    """The slow oracle: what Python itself imports for the roots."""
    code = (
        "from orchestrator.preparation.code_fingerprint import ROOTS\n"
        "import importlib, sys\n"
        "for room, name in ROOTS: getattr(importlib.import_module(room), name)\n"
        "files = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in "
        f"{PACKAGES!r} and not hasattr(m, '__path__')]\n"
        "print(*files, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    loaded = {Path(line).relative_to(REPOSITORY).as_posix() for line in done.stdout.split()}
    assert len(loaded) > 50
    assert loaded - names == {"orchestrator/preparation/code_fingerprint.py"} - names


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\n\n\n", "\n\n\n# a remark\n"),
        ('"""', '"""Other words: '),
        ("from ", "from orchestrator.errors import SweepError\nfrom "),
    ],
)
def test_remarks_and_imports_of_our_own_change_nothing(copy: Path, before: str, after: str) -> None:
    module, was = copy / "orchestrator" / "search" / "budget.py", source_hash(copy)
    assert before in module.read_text()
    module.write_text(module.read_text().replace(before, after, 1))
    assert source_hash(copy) == was


def test_a_module_that_moves_changes_nothing(copy: Path) -> None:
    was, search = source_hash(copy), copy / "orchestrator" / "search"
    (search / "budget.py").rename(search / "account.py")
    for path in search.glob("*.py*"):
        path.write_text(path.read_text().replace("search.budget import", "search.account import"))
    assert source_hash(copy) == was


def test_what_computes_something_else_changes_it(copy: Path) -> None:
    module, was = copy / "orchestrator" / "pareto.py", source_hash(copy)
    module.write_text(module.read_text() + "\nEXTRA = 1\n")
    assert source_hash(copy) != was
