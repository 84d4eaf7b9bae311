"""A real S3 server, started once."""

from collections.abc import Iterator

import pytest

from tests.s3 import S3Server, serve_s3, use_endpoint


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's name; its URI is set up in the environment."""
    use_endpoint(monkeypatch, s3_server.endpoint)
    return s3_server.new_bucket()
