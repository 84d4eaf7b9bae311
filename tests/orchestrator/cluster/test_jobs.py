"""Messages where there is no cluster, or one that refuses this user; what a job is given."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from orchestrator.cluster import Jobs, environment_of, require_reachable
from orchestrator.errors import RunStoppedError, SweepError


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"no")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_where_nothing_listens_the_way_to_a_cluster_is_shown() -> None:
    with answering(200) as address:
        pass
    with pytest.raises(SweepError) as caught:
        Jobs(address)
    assert str(caught.value).startswith(f"address '{address}': there is no Ray cluster (")
    assert "ray dashboard cluster.yaml" in str(caught.value)


@pytest.mark.parametrize("address", ["ray://head:10001", "auto", "http://", "http://host:port"])
def test_what_is_no_address_of_a_dashboard_is_refused(address: str) -> None:
    with pytest.raises(SweepError, match="there is no Ray cluster"):
        Jobs(address)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_answered_with_the_fix(status: int) -> None:
    with answering(status) as address, pytest.raises(SweepError) as caught:
        Jobs(address)
    for part in (address, "refuses the token", "export RAY_AUTH_MODE=token", "~/.ray/auth_token"):
        assert part in str(caught.value)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_another_server_is_no_cluster(status: int) -> None:
    with answering(status) as address, pytest.raises((SweepError, RunStoppedError)) as caught:
        Jobs(address)
    assert address in str(caught.value)


def test_variables_are_given_or_taken_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert environment_of(["AWS_REGION", "A=b=c", "EMPTY="]) == {"AWS_REGION": "eu-west-1", "A": "b=c", "EMPTY": ""}
    with pytest.raises(SweepError, match="--env NOT_SET: it is not set here"):
        environment_of(["NOT_SET"])


def test_a_folder_of_this_machine_is_no_storage_of_a_cluster() -> None:
    with pytest.raises(SweepError, match="storage 'sweeps': a relative folder has no meaning on a cluster"):
        require_reachable("sweeps")
    require_reachable("/mnt/sweeps")
    require_reachable("s3://bucket/sweeps")
