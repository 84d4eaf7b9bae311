"""Which tests share a process where two run at once, and a real S3 server, started once."""

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.s3 import S3Server, serve_s3, use_endpoint


class ByFile(LoadScopeScheduling):
    """Keeps a file's tests together for its fixtures, and all that sweep with Ray: they share one sweep, and models."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return "integration" if file.startswith("tests/integration/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's name; its URI is set up in the environment."""
    use_endpoint(monkeypatch, s3_server.endpoint)
    return s3_server.new_bucket()
