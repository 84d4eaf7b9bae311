"""A Ray of this process's own: on the loopback address, for this user alone, and watched while it is used."""

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
from ray._private import ray_constants  # see _on_loopback

from orchestrator.errors import RunStoppedError
from orchestrator.resources.ray_environment import PROCESSES, ProjectAlone, importing_ahead, variables
from orchestrator.resources.reaper import reaped
from orchestrator.resources.session_folder import session_folder

START_ATTEMPTS = 3
WATCH_EVERY_S = 0.5
LOSS_GRACE_S = 8.0
"""Seconds that a run has to end by itself once a process of Ray has died. Ray ends it without a word after 10 to 60."""
_VITAL = {"raylet", "gcs_server"}
"""Names of the processes without which a session cannot go on."""


@contextmanager
def local_ray(*, cpus: int, on_loss: Callable[[RunStoppedError], None], last_words: str = "") -> Iterator[None]:
    """Start Ray, and end it with the block.

    Args:
        cpus: how many the session has.
        on_loss: told, from another thread, when one of Ray's own processes has died.
        last_words: what the user is told to do where the block then hangs in Ray, and this process is ended.

    Raises:
        SweepError: there is no temporary folder that it could use.
        RunStoppedError: it did not start; with what to do.
    """
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # kept: Ray reads it once in a process
    with (
        session_folder() as folder,
        reaped(folder.name),
        variables(PROCESSES | importing_ahead(cpus)),
        _on_loopback(),
    ):
        _start(folder / "ray", cpus)
        with _watched(folder, on_loss, last_words) as ending:
            try:
                yield
            finally:
                ending.set()
                _kill(_scripts())
                ray.shutdown()


def _start(folder: Path, cpus: int) -> None:
    """Start Ray in a folder. Its processes wait for each other for 15 s, which is too short on a busy machine.

    Raises:
        RunStoppedError: it did not start.
    """
    for attempt in range(1, START_ATTEMPTS + 1):
        others = set(psutil.Process().children())
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
            return
        except Exception as error:  # Ray raises a bare Exception too, and leaves what it has started
            ray.shutdown()
            _kill(set(psutil.Process().children()) - others)
            if attempt == START_ATTEMPTS:
                raise RunStoppedError(
                    f"Ray did not start on this machine ({_first_line(error)}); its logs are in "
                    f"{folder}/session_latest/logs\n'unlearn-sweep doctor' looks for what may be in its way: memory, "
                    f"disk, limits (ulimit -a); on a machine that is busy, try again"
                ) from None


def _scripts() -> list[psutil.Process]:
    """Return Ray's processes that are Python scripts (dashboard, monitors), which a Ray of one process has no use for.

    Ray ends them one after another, and waits a third of a second for each.
    """
    package = f"{Path(ray.__file__).parent}/"
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any(part.startswith(package) and part.endswith(".py") for part in process.cmdline()):
                found.append(process)
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1 alone, as it does on macOS and Windows.

    The option ``_node_ip_address`` cannot say so: Ray replaces a loopback address by the machine's own.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with variables({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _watched(folder: Path, on_loss: Callable[[RunStoppedError], None], last_words: str) -> Iterator[threading.Event]:
    """Watch whether Ray's own processes live, while the block runs.

    Yields:
        An event to set before Ray is shut down: from then on they may end.
    """
    vital = {process: process.name() for process in psutil.Process().children() if process.name() in _VITAL}
    ending, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not ending.wait(WATCH_EVERY_S):
            dead = [name for process, name in vital.items() if not _lives(process)]
            if dead and not ending.is_set():
                error = RunStoppedError(
                    f"Ray's process '{dead[0]}' has died: killed, perhaps, because the machine had no memory left "
                    f"('dmesg' says so); its logs are in {folder}/ray/session_latest/logs"
                )
                on_loss(error)
                if not done.wait(LOSS_GRACE_S):
                    _end_at_once(f"unlearn-sweep: {error}\n{last_words}")
                return

    thread = threading.Thread(target=watch, name="ray's processes", daemon=True)
    thread.start()
    try:
        yield ending
    finally:
        ending.set()
        done.set()
        thread.join()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end_at_once(message: str) -> None:
    """End this process and those of the session: its main thread waits in Ray for what does not come."""
    _kill(psutil.Process().children())
    os.write(2, f"{message.rstrip()}\n".encode())
    os._exit(1)


def _kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, and those that they have started."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for one in (*process.children(recursive=True), process):
                one.kill()
