"""Stands before a real S3 server and answers wrongly when told to; knows conditional writes, which rclone ignores."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.s3 import S3Server

ERRORS = {
    500: "<Code>InternalError</Code><Message>We encountered an internal error.</Message>",
    503: "<Code>SlowDown</Code><Message>Please reduce your request rate.</Message>",
    403: "<Code>AccessDenied</Code><Message>Access Denied</Message>",
    409: "<Code>ConditionalRequestConflict</Code><Message>Another write is under way.</Message>",
    412: "<Code>PreconditionFailed</Code><Message>It is there.</Message><Condition>If-None-Match</Condition>",
}
SILENT, DEAF, LOST, CUT = "silent", "deaf", "lost", "cut"
"""Never answer; never even read; do it, and close instead of answering; answer with half of the body."""


class S3Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, server: S3Server) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = server
        self.faults: list[int | str] = []
        """For the next requests, one each; then all goes well."""
        self.always: int | str | None = None
        self.requests: list[str] = []
        self.one_at_a_time = threading.Lock()
        self.over = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_fault(self) -> int | str | None:
        return self.faults.pop(0) if self.faults else self.always

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that clients gave up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Proxy

    def handle_any(self) -> None:
        if self.server.always == DEAF:
            self.server.over.wait()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.one_at_a_time:
            self.server.requests.append(f"{self.command} {urlsplit(self.path).path}")
            fault = self.server.next_fault()
            if fault in ERRORS:
                answer = error(fault)
            elif fault == SILENT:
                answer = None
            else:
                answer = self.forward(body)
        if answer is None:
            self.server.over.wait()
        if answer is None or fault == LOST:
            self.close_connection = True
            return
        status, headers, content = answer
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if fault == CUT else content)
        self.close_connection = self.close_connection or fault == CUT

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = handle_any

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        there = self.server.behind.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if self.headers.get("If-None-Match") == "*" and there.exists():
            return error(412)
        connection = http.client.HTTPConnection(urlsplit(self.server.behind.endpoint).netloc)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        headers = {
            name: value
            for name, value in response.getheaders()
            if name.lower() not in {"connection", "transfer-encoding", "content-length"}
        }
        if self.command == "HEAD":
            headers["Content-Length"] = response.getheader("Content-Length", "0")
        connection.close()
        return response.status, headers, content

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def error(status: int) -> tuple[int, dict[str, str], bytes]:
    return status, {}, f"<Error>{ERRORS[status]}</Error>".encode()


@contextlib.contextmanager
def s3_proxy(server: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield proxy
        proxy.over.set()
        proxy.shutdown()
        thread.join()
