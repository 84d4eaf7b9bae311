"""A Ray of this process's own: on the loopback address, for this user alone, and watched while it is used."""

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray
from ray._private import ray_constants  # see _on_loopback

from orchestrator.errors import RunStoppedError
from orchestrator.ray_environment import PROCESSES, ProjectAlone, variables
from orchestrator.session_folder import session_folder

WATCH_EVERY_S = 0.5
_VITAL = {"raylet", "gcs_server"}
"""Names of the processes without which a session is over."""


@contextmanager
def local_ray(*, cpus: int, on_loss: Callable[[RunStoppedError], None]) -> Iterator[None]:
    """Start Ray, and end it with the block.

    Args:
        cpus: how many the session has.
        on_loss: told, from another thread, when one of Ray's own processes has died.

    Raises:
        SweepError: there is no temporary folder that it could use.
        RunStoppedError: it did not start; with what to do.
    """
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # kept: Ray reads it once in a process
    with session_folder() as folder, variables(PROCESSES), _on_loopback():
        try:
            _start(folder / "ray", cpus)
            with _watched(folder, on_loss):
                yield
        finally:
            ray.shutdown()


def _start(folder: Path, cpus: int) -> None:
    """Start Ray in a folder.

    Raises:
        RunStoppedError: it did not start.
    """
    try:
        ray.init(
            address="local",  # not a cluster that happens to run on this machine
            num_cpus=cpus,
            include_dashboard=False,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
            job_config=ProjectAlone(),
            _temp_dir=str(folder),
        )
    except Exception as error:  # Ray raises a bare Exception too
        raise RunStoppedError(
            f"Ray did not start on this machine ({_first_line(error)}); its logs are in {folder}/session_latest/logs\n"
            f"'unlearn-sweep doctor' looks for what may be in its way: memory, disk, limits (ulimit -a); on a machine "
            f"that is busy, try again"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1 alone, as on macOS and Windows; it replaces that where ``_node_ip_address`` says so."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with variables({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _watched(folder: Path, on_loss: Callable[[RunStoppedError], None]) -> Iterator[None]:
    """Look, while the block runs, whether Ray's own processes live; Ray would end this one without a word."""
    vital = {process: process.name() for process in psutil.Process().children() if process.name() in _VITAL}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_EVERY_S):
            for process, name in vital.items():
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    on_loss(
                        RunStoppedError(
                            f"Ray's process '{name}' has died: killed, perhaps, because the machine had no memory left "
                            f"('dmesg' says so); its logs are in {folder}/ray/session_latest/logs"
                        )
                    )
                    return

    thread = threading.Thread(target=watch, name="ray's processes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
