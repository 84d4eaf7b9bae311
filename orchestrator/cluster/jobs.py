"""A cluster's Ray Jobs, by its address: submit, find, follow, stop. Every mistake is answered with what to do."""

import asyncio
import shlex
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient
from tenacity import (
    Retrying,
    retry,
    retry_if_exception_message,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from orchestrator.errors import AUTHENTICATION_ADVICE, RunStoppedError, SweepError
from orchestrator.safe_text import command
from orchestrator.storage import require_no_secret

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Where ``ray dashboard cluster.yaml`` makes a cluster's dashboard appear."""
CONNECT_LIMIT_S = 10.0
_PATIENTLY = Retrying(
    retry=retry_if_exception_type(RunStoppedError), stop=stop_after_delay(60), wait=wait_fixed(2), reraise=True
)
"""A tunnel that was closed may be opened again."""
_STOPPED_CODES = {128 + signal.SIGINT, 128 + signal.SIGTERM}
"""Of a driver that was stopped in good order, which Ray takes for a failure."""
_SWEEP, _URI = "unlearn-sweep", "unlearn-sweep-uri"
"""Keys of a job's metadata: the sweep's name, and where it lives."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of ours, as the cluster tells of it."""

    job_id: str
    sweep: str
    uri: str
    status: str
    """``PENDING``, ``RUNNING``, ``STOPPED``, ``SUCCEEDED`` or ``FAILED``."""
    submitted_at: str
    message: str
    exit_code: int | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, however."""
        return bool(JobStatus(self.status).is_terminal())


class Jobs:
    """The jobs of one cluster.

    Every method raises ``SweepError`` where the cluster refuses this user, and ``RunStoppedError`` where it is lost.
    """

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            SweepError: there is no cluster, or it wants another token; with what to do.
        """
        self.address = _checked(address)
        with _explained(self.address):
            try:
                self._client = JobSubmissionClient(self.address)
            except (ConnectionError, ValueError) as error:
                raise _no_cluster(address, error) from None

    def submit(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], sweep: str, uri: str | None
    ) -> str:
        """Submit a command that runs in a copy of ``folder``: the arguments of ``python``.

        Args:
            arguments: quoted as they need to be here.
            folder: what is sent along.
            environment: variables that the command, and every worker, gets. Who sees the dashboard sees them.
            sweep: for the job's name.
            uri: of the sweep that it drives; None: it drives none, and ``list`` leaves it out.

        Returns:
            The job's id.
        """
        with _explained(self.address):
            submitted: str = _once_there_is_an_agent(
                self._client.submit_job,
                entrypoint=shlex.join(["python", *arguments]),
                submission_id=f"{sweep}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}",
                runtime_env={"working_dir": str(folder), "env_vars": dict(environment)},
                metadata={_SWEEP: sweep, _URI: uri} if uri is not None else {},
            )
        return submitted

    def list(self) -> list[Job]:
        """List our jobs, the newest first."""
        with _explained(self.address):
            found = self._client.list_jobs()
        ours = [_job(details) for details in found if _SWEEP in (details.metadata or {})]
        return sorted(ours, key=lambda job: job.submitted_at, reverse=True)

    def of_sweep(self, uri: str) -> Job | None:
        """Find the newest job of the sweep at a place, if it has one."""
        return next((job for job in self.list() if job.uri == uri), None)

    def find(self, name: str) -> Job:
        """Find a job by its id, or the newest of a sweep by the sweep's name or place.

        Raises:
            SweepError: there is none.
        """
        jobs = self.list()
        wanted = name.rstrip("/")
        for job in jobs:
            if wanted in (job.job_id, job.sweep, job.uri):
                return job
        known = ", ".join(dict.fromkeys(job.sweep for job in jobs)) or "none"
        raise SweepError(
            f"no job of '{name}' at {self.address}; it has jobs of these sweeps: {known}; "
            f"see them all with: {command('status', '--address', self.address)}"
        )

    def job(self, job_id: str) -> Job:
        """Ask how a job is."""
        with _explained(self.address):
            return _job(self._client.get_job_info(job_id))

    def logs(self, job_id: str) -> str:
        """Read what a job has printed so far."""
        with _explained(self.address):
            text: str = self._client.get_job_logs(job_id)
        return text

    def follow(self, job_id: str, write: Callable[[str], Any]) -> Job:
        """Write what a job prints, as it prints it, until it ends; a broken connection is made again."""
        written = 0
        while True:
            seen = 0
            for text in _until_broken(self._client.tail_job_logs(job_id)):
                fresh = text[max(0, written - seen) :]
                seen += len(text)
                written = max(written, seen)
                write(fresh)
            job = _PATIENTLY(self.job, job_id)
            if job.is_over:
                write(self.logs(job_id)[written:])
                return job
            time.sleep(1)

    def stop(self, job_id: str) -> Job:
        """Have the cluster end a job, and wait until it has."""
        with _explained(self.address):
            self._client.stop_job(job_id)
        return self.wait(job_id)

    def wait(self, job_id: str, *, poll_s: float = 0.5) -> Job:
        """Wait until a job has ended."""
        while not (job := self.job(job_id)).is_over:
            time.sleep(poll_s)
        return job


@retry(
    retry=retry_if_exception_message(match="(?s).*No available agent"),
    wait=wait_fixed(1),
    stop=stop_after_delay(60),
    reraise=True,
)
def _once_there_is_an_agent(submit: Callable[..., Any], **job: Any) -> Any:
    """Submit a job; a cluster that has just started takes jobs a moment before it has somebody to start them."""
    return submit(**job)


def _job(details: Any) -> Job:
    metadata = details.metadata or {}
    return Job(
        job_id=details.submission_id,
        sweep=metadata.get(_SWEEP, ""),
        uri=metadata.get(_URI, ""),
        status="STOPPED" if details.driver_exit_code in _STOPPED_CODES else str(details.status.value),
        submitted_at=datetime.fromtimestamp((details.start_time or 0) / 1000, UTC).isoformat(timespec="seconds"),
        message=details.message or "",
        exit_code=details.driver_exit_code,
    )


def _until_broken(stream: Any) -> Iterator[str]:
    """Give what an asynchronous stream gives, until it or its connection ends."""
    with asyncio.Runner() as runner:
        while True:
            try:
                text = runner.run(anext(stream))
            except (StopAsyncIteration, RuntimeError, ClientError, OSError):
                return
            yield text


def _checked(address: str) -> str:
    """Look whether anything listens, within a time that a person waits; Ray would wait for minutes.

    Raises:
        SweepError: nothing does.
    """
    url = address if "://" in address else f"http://{address}"
    require_no_secret(url, "address", "give it as a header by RAY_JOB_HEADERS, or by RAY_AUTH_TOKEN")
    parts = urlsplit(url)
    try:
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError("it is no http:// or https:// address")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname, port), timeout=CONNECT_LIMIT_S):
            return url.rstrip("/")
    except (OSError, ValueError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: object) -> SweepError:
    return SweepError(
        f"address '{address}': there is no Ray cluster ({str(error).splitlines()[0]}); give the address of its "
        f"dashboard, for example {DEFAULT_ADDRESS} while 'ray dashboard cluster.yaml' runs in another terminal"
    )


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Say of an error of the client what was wrong, and what to do."""
    try:
        yield
    except AuthenticationError as error:
        raise SweepError(
            f"address '{address}': the cluster refuses the token ({str(error).splitlines()[0]})\n"
            f"{AUTHENTICATION_ADVICE}"
        ) from None
    except (OSError, ValueError) as error:  # what requests raises
        raise RunStoppedError(f"{address}: the cluster does not answer ({error})") from None
    except RuntimeError as error:
        raise RunStoppedError(f"{address}: the cluster says: {error}") from None
