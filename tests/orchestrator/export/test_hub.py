"""Pushing a folder: the hub's own client against a server that answers as the hub does, and notes what it is asked."""

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.export import push_folder, require_hub

TOKEN = "hf_a_token_of_this_test"


@dataclass
class FakeHub:
    private: bool = True
    """Of the repository, whatever it is made with."""
    status: int = 200
    calls: list = field(default_factory=list)
    """(method and path, body, token) of every request."""


@pytest.fixture
def hub(monkeypatch):
    state = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, method):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            state.calls.append((f"{method} {path}", body, self.headers.get("Authorization")))
            content = json.dumps(self.content(path, body) if state.status == 200 else {"error": "no"}).encode()
            self.send_response(state.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def content(self, path, body):
            if path.endswith("/repos/create"):
                return {"url": f"{endpoint}/me/model"}
            if path.endswith("/preupload/main"):
                files = [file["path"] for file in json.loads(body)["files"]]
                return {"files": [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]}
            if "/commit/" in path:
                return {"commitUrl": f"{endpoint}/me/model/commit/{'a' * 40}", "commitOid": "a" * 40}
            if path.endswith("/validate-yaml"):
                return {"errors": [], "warnings": []}
            return {"id": "me/model", "private": state.private, "siblings": [], "sha": "a" * 40}

        def do_GET(self):
            self.answer("GET")

        def do_POST(self):
            self.answer("POST")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("---\nlibrary_name: transformers\n---\n# a model\n")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def bodies(hub, path):
    return [body for call, body, _ in hub.calls if call.startswith(path)]


@pytest.mark.parametrize("public", [False, True])
def test_a_folder_becomes_one_commit_of_a_repository_that_is_private_unless_asked_otherwise(hub, folder, public):
    hub.private = not public
    url = push_folder(folder, "me/model", public=public, message="Export it")
    assert url.endswith("/me/model")
    (made,) = bodies(hub, "POST /api/repos/create")
    asked = json.loads(made)
    assert asked["name"] == "model"
    assert asked["organization"] == "me"
    assert (asked.get("private") is False or asked.get("visibility") == "public") is public
    assert (asked.get("private") is True or asked.get("visibility") == "private") is not public
    (commit,) = bodies(hub, "POST /api/models/me/model/commit/main")
    lines = [json.loads(line) for line in commit.splitlines()]
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    assert files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert lines[0]["value"]["summary"] == "Export it"
    assert {token for call, _, token in hub.calls if "me/model" in call} == {f"Bearer {TOKEN}"}


def test_nothing_is_uploaded_to_a_public_repository_unless_asked_for(hub, folder):
    hub.private = False
    with pytest.raises(SweepError, match="everyone may read this repository; add --public"):
        push_folder(folder, "me/model", public=False, message="Export it")
    assert not bodies(hub, "POST /api/models/me/model/commit")


def test_a_refusal_is_a_message_that_says_how_to_go_on(hub, folder):
    hub.status = 403
    with pytest.raises(RunStoppedError, match=r"did not take it \(.*403(.|\n)*hf upload me/model "):
        push_folder(folder, "me/model", public=False, message="Export it")


def test_no_network_is_a_message(monkeypatch, folder):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(RunStoppedError, match=r"the hub at http://127\.0\.0\.1:9 did not take it"):
        push_folder(folder, "me/model", public=False, message="Export it")


def test_a_wrong_name_and_a_missing_token_are_found_before_any_work(hub, monkeypatch):
    require_hub("me/model")
    for wrong in ("model", "me/mo del", "me/model/more"):
        with pytest.raises(SweepError, match="give OWNER/NAME"):
            require_hub(wrong)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(SweepError, match="run 'hf auth login' or set HF_TOKEN"):
        require_hub("me/model")
    assert hub.calls == []
