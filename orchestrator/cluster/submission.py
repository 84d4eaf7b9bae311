"""Run a sweep on a cluster as a Ray Job: check that it can run, send code and spec, start a supervised driver."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from orchestrator.cluster.jobs import Jobs
from orchestrator.cluster.package import SPEC_FILE, write_package
from orchestrator.errors import SweepError
from orchestrator.spec import SweepSpec, dump_spec
from orchestrator.storage import require_plain_storage
from trainables.plugins import PluginFile


def submit_sweep(
    jobs: Jobs,
    spec: SweepSpec,
    *,
    storage: str,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    retries: int = 0,
    check: bool = True,
) -> str:
    """Submit a job that runs a sweep, and return its id.

    Args:
        jobs: jobs of the cluster.
        spec: spec, resolved here: the cluster looks up only the storage, and the data and models that it names. Its
            plugin files are sent along.
        storage: a URI, or a folder that all machines of the cluster share.
        options: options of ``unlearn-sweep run``.
        environment: variables for the driver and all workers. Everyone who sees the dashboard sees them.
        retries: how often the driver is restarted if it is killed.
        check: whether to run ``unlearn-sweep doctor`` there first.

    Raises:
        SweepError: the sweep could not run there; the message lists what stands in its way.
    """
    require_reachable(storage)
    with tempfile.TemporaryDirectory(prefix="unlearn-sweep-submit-") as name:
        folder = Path(name)
        options = [*options, *write_package(folder, dump_spec(spec, every_default=False), spec.plugins)]
        environment = environment or {}
        if check:
            _require_healthy(jobs, folder, spec.name, storage=storage, options=options, environment=environment)
        arguments = [str(retries), "run", SPEC_FILE, "--storage", storage, *options]
        return _submit_supervised(jobs, arguments, folder, environment, sweep=spec.name, storage=storage)


def submit_resume(
    jobs: Jobs,
    sweep: str,
    *,
    storage: str,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    retries: int = 0,
    plugins: Sequence[PluginFile] = (),
) -> str:
    """Submit a job that runs ``unlearn-sweep resume`` of a sweep, and return its id; see ``submit_sweep``."""
    place, _, name = sweep.rstrip("/").rpartition("/")
    place = place or storage
    require_reachable(place)
    with tempfile.TemporaryDirectory(prefix="unlearn-sweep-submit-") as folder:
        given = write_package(Path(folder), None, plugins)
        arguments = [str(retries), "resume", f"{place.rstrip('/')}/{name}", *options, *given]
        return _submit_supervised(jobs, arguments, Path(folder), environment or {}, sweep=name, storage=place)


def _submit_supervised(
    jobs: Jobs, arguments: list[str], folder: Path, environment: Mapping[str, str], *, sweep: str, storage: str
) -> str:
    """Submit a supervised driver, and return the id of its job."""
    return jobs.submit(
        ["-m", "orchestrator.cluster.supervisor", *arguments],
        folder=folder,
        environment=environment,
        sweep=sweep,
        uri=f"{storage.rstrip('/')}/{sweep}",
    )


def _require_healthy(
    jobs: Jobs, folder: Path, sweep: str, *, storage: str, options: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Run ``unlearn-sweep doctor`` on the cluster.

    Raises:
        SweepError: it found something that stands in the sweep's way.
    """
    workers = options[options.index("--workers") : options.index("--workers") + 2] if "--workers" in options else []
    trust = [option for option in options if option == "--trust-remote-code"]
    plugins = [word for option, file in pairwise(options) if option == "--plugin" for word in (option, file)]
    doctor = jobs.wait(
        jobs.submit(
            ["-m", "orchestrator", "doctor", SPEC_FILE, "--storage", storage, *workers, *trust, *plugins],
            folder=folder,
            environment=environment,
            sweep=f"doctor-{sweep}",
            uri=None,
        )
    )
    if doctor.exit_code != 0:
        said = jobs.logs(doctor.job_id).strip().splitlines()
        found = "\n".join(line for line in said if not line.startswith("Running entrypoint"))
        raise SweepError(
            f"the sweep cannot run at {jobs.address}:\n{found or doctor.message}\n"
            f"nothing was started. If a module is missing, install this project into the Python that runs Ray there"
        )


def require_reachable(storage: str) -> None:
    """Check that a storage means the same on a cluster as here, and that its URI contains no secret.

    Raises:
        SweepError: it is a relative folder, or its URI contains a secret.
    """
    require_plain_storage(storage)
    if "://" not in storage and not Path(storage).is_absolute():
        raise SweepError(
            f"storage '{storage}': a relative folder has no meaning on a cluster; give a URI that its machines can "
            f"reach (--storage s3://bucket/sweeps), or the absolute path of a folder that they all share"
        )


def environment_of(assignments: Iterable[str]) -> dict[str, str]:
    """Return the variables given as ``NAME=VALUE``, or as ``NAME``, which takes its value in this environment.

    Raises:
        SweepError: a variable given by its name is not set here.
    """
    found = {}
    for assignment in assignments:
        name, given, value = assignment.partition("=")
        if not given and name not in os.environ:
            raise SweepError(f"--env {name}: it is not set here; set it, or give --env {name}=VALUE")
        found[name] = value if given else os.environ[name]
    return found
