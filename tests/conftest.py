"""Which tests share a process where two run at once; limits; a real S3 server and a whole sweep, each started once."""

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.integration.helpers import INLINE, MODULES, TELLING_MODULES, TINY, call, unlearn_sweep
from tests.limits import LONG_HANG_S, PROPERTY
from tests.s3 import S3Server, serve_s3, use_endpoint

BY_RAY = (
    "failures_of_ray", "interruption", "narrow", "own_data", "preparation", "private_session", "readme_commands",
    "several_at_once", "submit", "sweep", "wide",
)  # fmt: skip
CLUSTERS = ("tests/e2e/", *(f"tests/integration/test_{name}.py" for name in BY_RAY))
"""Their tests start Ray, and take every core for themselves; tests/architecture/test_limits.py knows which do."""
LONG = (
    "tests/faults/", "tests/integration/", "tests/orchestrator/report/", "tests/orchestrator/search/",
    "tests/trainables/trial/",
)  # fmt: skip
"""What takes longest of all else: it begins first, so that at the end only short files are left to share."""

settings.register_profile("suite", PROPERTY, max_examples=100)
settings.load_profile("suite")


MEMORY, ROOM_BYTES = Path("/dev/shm"), 4 * 2**30
"""A file system in memory, and what it has to have free to hold what tests write."""


def pytest_configure() -> None:
    """Set what processes of tests inherit, unless it is set: where files go, and how urgent Ray's workers are.

    A sweep waits for a disk hundreds of times, which shows nothing, so files are in memory where there is room. Ray's
    workers are as urgent as the tests beside them; as Ray has it, they would get only what those leave.
    """
    os.environ.setdefault("RAY_worker_niceness", "0")
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(autouse=True)
def _no_cluster_elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to start Ray in a test of which the list above does not know."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a test that starts Ray stands in a file of CLUSTERS")

    if not request.node.nodeid.startswith(CLUSTERS):
        monkeypatch.setattr("ray.init", refuse)


def pytest_unconfigure() -> None:
    gc.unfreeze()  # what is not collected at the end of a process, some libraries report as leaked


class ByFile(LoadScopeScheduling):
    """Keeps a file's tests together, for its fixtures, and all that start a cluster, for their speed.

    Of two clusters at once each waits for the other's processes. So one process has them all, one after another, from
    the beginning, and another does the rest meanwhile; whoever is ready first takes the next file.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "clusters" if nodeid.startswith(CLUSTERS) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(("tests/e2e/", "tests/integration/")):
            item.add_marker(pytest.mark.timeout(LONG_HANG_S))
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: (not item.nodeid.startswith(CLUSTERS), not item.nodeid.startswith(LONG)))


@pytest.fixture(autouse=True, scope="module")
def _frozen() -> None:
    """Keep the garbage collector from what was imported: Accelerate collects before every trial, for half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's name; its URI is set up in the environment."""
    use_endpoint(monkeypatch, s3_server.endpoint)
    return s3_server.new_bucket()


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One storage for all whole sweeps of a process: its models are trained once, by the first of them."""
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="session")
def tiny_sweep(storage: Path) -> Path:
    """The tiny sweep, run to its end without interruption, in this process."""
    done = call("run", str(TINY), "--storage", str(storage), *INLINE)
    assert done.returncode == 0, done.stderr
    return storage / "tiny"


@pytest.fixture(scope="session")
def ray_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny sweep by Ray, with models of its own, in a process that told what it had imported at its end."""
    storage = tmp_path_factory.mktemp("by-ray")
    command = [sys.executable, "-c", TELLING_MODULES, str(storage / MODULES)]
    done = unlearn_sweep("run", str(TINY), "--storage", str(storage), command=command)
    assert done.returncode == 0, done.stderr
    return storage / "tiny"
