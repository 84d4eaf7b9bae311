"""One storage for all integration tests: its models are trained once, by the first sweep."""

from pathlib import Path

import pytest

from tests.integration.helpers import TINY, unlearn_sweep


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="session")
def tiny_sweep(storage: Path) -> Path:
    """The tiny sweep, run to its end without interruption."""
    done = unlearn_sweep("run", str(TINY), "--storage", str(storage))
    assert done.returncode == 0, done.stderr
    return storage / "tiny"
