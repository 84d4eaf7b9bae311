"""The Ray Jobs of a cluster: submit, find, follow and stop them. Every error message says what to do next."""

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
"""Where ``ray dashboard cluster.yaml`` makes a cluster's dashboard available."""
CONNECT_LIMIT_S = 10.0
"""Most seconds that a connection to the dashboard may take."""
_RETRY_WHILE_LOST = Retrying(
    retry=retry_if_exception_type(RunStoppedError), stop=stop_after_delay(60), wait=wait_fixed(2), reraise=True
)
"""Retries while the cluster does not answer: a closed tunnel may be opened again."""
_STOPPED_CODES = {128 + signal.SIGINT, 128 + signal.SIGTERM}
"""Exit codes of a driver that was stopped cleanly, which Ray counts as a failure."""
_SWEEP, _URI = "unlearn-sweep", "unlearn-sweep-uri"
"""Keys of a job's metadata: the sweep's name, and its URI."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that runs one of our sweeps, as the cluster describes it."""

    job_id: str
    sweep: str
    """Name of the sweep."""
    uri: str
    """Where the sweep is stored."""
    status: str
    """``PENDING``, ``RUNNING``, ``STOPPED``, ``SUCCEEDED`` or ``FAILED``."""
    submitted_at: str
    """ISO 8601, UTC."""
    message: str
    """What Ray says of its end."""
    exit_code: int | None
    """Exit code of the driver; None until it has ended, and if it was lost."""

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, for whatever reason."""
        return bool(JobStatus(self.status).is_terminal())


class Jobs:
    """The jobs of one cluster.

    Every method raises ``SweepError`` if the cluster refuses this user, and ``RunStoppedError`` if it does not answer.
    """

    def __init__(self, address: str) -> None:
        """Connect to the cluster whose dashboard is at this address.

        Raises:
            SweepError: there is no cluster, or it expects another token.
        """
        self.address = _reachable_url(address)
        with _client_errors_explained(self.address):
            try:
                self._client = JobSubmissionClient(self.address)
            except (ConnectionError, ValueError) as error:
                raise _no_cluster(address, error) from None

    def submit(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], sweep: str, uri: str | None
    ) -> str:
        """Submit a job that runs ``python`` in a copy of a folder, and return its id.

        Args:
            arguments: arguments of ``python``, not yet quoted.
            folder: folder that is uploaded; the job runs in it.
            environment: variables for the command and every worker. Everyone who sees the dashboard sees them.
            sweep: name of the sweep, with which the job's id begins.
            uri: URI of the sweep that the job drives; None if it drives none, and ``list`` leaves it out.
        """
        with _client_errors_explained(self.address):
            submitted: str = _submit_once_there_is_an_agent(
                self._client.submit_job,
                entrypoint=shlex.join(["python", *arguments]),
                submission_id=f"{sweep}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}",
                runtime_env={"working_dir": str(folder), "env_vars": dict(environment)},
                metadata={_SWEEP: sweep, _URI: uri} if uri is not None else {},
            )
        return submitted

    def list(self) -> list[Job]:
        """Return the jobs that drive sweeps, the newest first."""
        with _client_errors_explained(self.address):
            found = self._client.list_jobs()
        ours = [_job_of(details) for details in found if _SWEEP in (details.metadata or {})]
        return sorted(ours, key=lambda job: job.submitted_at, reverse=True)

    def of_sweep(self, uri: str) -> Job | None:
        """Return the newest job of the sweep at a URI; None if it has none."""
        return next((job for job in self.list() if job.uri == uri), None)

    def find(self, name: str) -> Job:
        """Return a job by its id, or the newest job of a sweep by the sweep's name or URI.

        Raises:
            SweepError: there is no such job.
        """
        jobs = self.list()
        wanted = name.rstrip("/")
        for job in jobs:
            if wanted in (job.job_id, job.sweep, job.uri):
                return job
        known = ", ".join(dict.fromkeys(job.sweep for job in jobs)) or "none"
        raise SweepError(
            f"no job of '{name}' at {self.address}; it has jobs of these sweeps: {known}; "
            f"list them with: {command('status', '--address', self.address)}"
        )

    def job(self, job_id: str) -> Job:
        """Return a job as it is now."""
        with _client_errors_explained(self.address):
            return _job_of(self._client.get_job_info(job_id))

    def logs(self, job_id: str) -> str:
        """Return what a job has printed so far."""
        with _client_errors_explained(self.address):
            text: str = self._client.get_job_logs(job_id)
        return text

    def follow(self, job_id: str, write: Callable[[str], Any]) -> Job:
        """Write what a job prints until it ends, and return it ended; a broken connection is made again."""
        written = 0
        while True:
            seen = 0
            for text in _until_broken(self._client.tail_job_logs(job_id)):
                fresh = text[max(0, written - seen) :]
                seen += len(text)
                written = max(written, seen)
                write(fresh)
            job = _RETRY_WHILE_LOST(self.job, job_id)
            if job.is_over:
                write(self.logs(job_id)[written:])
                return job
            time.sleep(1)

    def stop(self, job_id: str) -> Job:
        """Stop a job, wait until it has ended, and return it."""
        with _client_errors_explained(self.address):
            self._client.stop_job(job_id)
        return self.wait(job_id)

    def wait(self, job_id: str, *, poll_s: float = 0.5) -> Job:
        """Wait until a job has ended, and return it."""
        while not (job := self.job(job_id)).is_over:
            time.sleep(poll_s)
        return job


@retry(
    retry=retry_if_exception_message(match="(?s).*No available agent"),
    wait=wait_fixed(1),
    stop=stop_after_delay(60),
    reraise=True,
)
def _submit_once_there_is_an_agent(submit: Callable[..., Any], **job: Any) -> Any:
    """Submit a job, and retry while the cluster, which has just started, has no agent that could start it."""
    return submit(**job)


def _job_of(details: Any) -> Job:
    """Return a job from Ray's details of it."""
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
    """Yield the items of an asynchronous stream until it or its connection ends."""
    with asyncio.Runner() as runner:
        while True:
            try:
                text = runner.run(anext(stream))
            except (StopAsyncIteration, RuntimeError, ClientError, OSError):
                return
            yield text


def _reachable_url(address: str) -> str:
    """Return an address as a URL, after checking that something listens there; Ray itself would wait for minutes.

    Raises:
        SweepError: nothing listens there, or the URL contains a secret.
    """
    url = address if "://" in address else f"http://{address}"
    require_no_secret(url, "address", "pass it as a header in RAY_JOB_HEADERS, or in RAY_AUTH_TOKEN")
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
    """Return the error that there is no cluster at an address."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
    return SweepError(
        f"address '{address}': there is no Ray cluster ({reason}); give the --address of a cluster's dashboard, or run "
        f"'ray dashboard cluster.yaml' in another terminal, which makes it available at {DEFAULT_ADDRESS}"
    )


@contextmanager
def _client_errors_explained(address: str) -> Iterator[None]:
    """Replace errors of Ray's client by ours, which say what is wrong and what to do."""
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
