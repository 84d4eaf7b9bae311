"""The commands for sweeps that run elsewhere, and what they share: submit, logs, stop."""

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.console import say, show, write
from orchestrator.cli.options import (
    AddressOption,
    ElsewhereOption,
    EnvironmentOption,
    FollowOption,
    ForceOption,
    NameOption,
    PluginOption,
    ProfileOption,
    RetriesOption,
    RetryFailedOption,
    SetOption,
    SpecArgument,
    StorageOption,
    SweepArgument,
    TakeOverOption,
    TrustOption,
    WorkersOption,
)
from orchestrator.errors import RunStoppedError, StorageError, SweepError
from orchestrator.ledger import DEFAULT_STORAGE, PREPARATION, PROBING, SPEC, open_sweep
from orchestrator.safe_text import clean, command
from orchestrator.storage import open_storage
from trainables.plugins import load_plugins

if TYPE_CHECKING:
    from orchestrator.cluster import Job, Jobs
    from orchestrator.driver import Driver
    from orchestrator.ledger import Ledger


def submit(
    spec: SpecArgument = None,
    address: AddressOption = None,
    follow: FollowOption = False,
    name: NameOption = None,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the sweep if it exists.")] = False,
    retry_failed: RetryFailedOption = False,
    force: ForceOption = False,
    take_over: TakeOverOption = False,
    profile: ProfileOption = False,
    plugins: PluginOption = None,
    trust_remote_code: TrustOption = False,
    retries: RetriesOption = 0,
    environment: EnvironmentOption = None,
    check: Annotated[bool, typer.Option(help="Check first whether the sweep can run there.")] = True,
) -> None:
    """Run a sweep on a cluster, as a Ray Job. The code is sent along as it is here."""
    from orchestrator.cluster import environment_of, require_reachable, submit_sweep
    from orchestrator.spec import load_spec

    files = load_plugins(plugins or ())
    loaded = load_spec(spec, overrides=tuple(overrides or ()), name=name).with_plugins(files)
    require_reachable(storage)
    resume = resume or retry_failed
    if not resume:
        _require_new(f"{storage.rstrip('/')}/{loaded.name}")
    variables = environment_of(environment or ())
    jobs = connect(address)
    job_id = submit_sweep(
        jobs,
        loaded,
        storage=storage,
        options=run_options(
            workers=workers,
            resume=resume,
            retry_failed=retry_failed,
            force=force,
            take_over=take_over,
            profile=profile,
            trust_remote_code=trust_remote_code,
        ),
        environment=variables,
        retries=retries,
        check=check,
    )
    show_submitted(jobs, job_id, follow=follow)


def _require_new(uri: str) -> None:
    """Check that there is no such sweep yet, as far as can be seen from here: the job would refuse it later.

    Raises:
        SweepError: there is one.
    """
    with suppress(StorageError):
        if open_storage(uri).read(SPEC) is not None:
            raise SweepError(f"there is a sweep at {uri}; add --resume to resume it, or choose another --name")


def run_options(*, workers: int | None, **flags: bool) -> list[str]:
    """Return options of ``run`` and ``resume`` as words of a command line."""
    given = [f"--{name.replace('_', '-')}" for name, is_set in flags.items() if is_set]
    return [*given, *(["--workers", str(workers)] if workers is not None else [])]


def show_submitted(jobs: "Jobs", job_id: str, *, follow: bool) -> None:
    """Follow a submitted job, or show the commands to follow it, to see its progress and to stop it."""
    job = jobs.job(job_id)
    at = ("--address", jobs.address)
    say(f"submitted {job.job_id}")
    if follow:
        _follow(jobs, job)
        return
    show(
        f"follow it: {command('logs', job.job_id, '--follow', *at)}\n"
        f"see its progress: {command('status', job.uri, *at)}\n"
        f"stop it: {command('stop', job.uri, *at)}"
    )


def logs(
    sweep: Annotated[str, typer.Argument(help="A sweep's name or URI, or a job's id.")],
    address: AddressOption = None,
    follow: FollowOption = False,
    trial: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Show instead what went wrong with a trial (its id or the beginning of it), with the models "
            "('preparation'), or with probes ('probing').",
        ),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show the output of a sweep's newest job. With --follow, the exit code is the job's."""
    if trial is not None:
        show(_log_of(open_sweep(sweep, storage), trial))
        return
    jobs = connect(address)
    job = jobs.find(sweep)
    if follow:
        _follow(jobs, job)
    else:
        _write(jobs.logs(job.job_id))


def _log_of(ledger: "Ledger", trial: str) -> str:
    """Return what went wrong with a trial; if it has no log, what is known of it.

    Raises:
        SweepError: no trial has an id that begins so, or several have.
    """
    from orchestrator.points import find_trial

    if trial in (PREPARATION, PROBING):
        what = "models" if trial == PREPARATION else "probes"
        return (ledger.log(trial) or f"{ledger.storage.uri}: nothing went wrong with its {what}").rstrip()
    row = find_trial(ledger, trial)
    log = ledger.log(row["trial_id"])
    if log is not None:
        return log.rstrip()
    last = f", at step {row['last_step']}" if row["last_step"] is not None else ""
    message = f": {row['message']}" if row["message"] else ""
    return (
        f"trial {row['trial_id']} ({row['stratum']}): {row['status'] or 'unfinished'}{last}{message}\n"
        f"it has no log: a trial gets one when it fails"
    )


def stop(
    sweep: SweepArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    address: ElsewhereOption = None,
) -> None:
    """Stop a sweep cleanly, wherever it runs: its trials save their state. Waits until the sweep has stopped."""
    try:
        ledger = open_sweep(sweep, storage)
    except (SweepError, StorageError):
        if address is None:
            raise
        jobs = connect(address)
        _stop_job(jobs, jobs.find(sweep))  # its folder cannot be seen from here
        return
    try:
        driver = _stop_through_storage(ledger)
    except RunStoppedError:
        if address is None:
            raise
        driver = None
    if driver is None and address is not None:
        jobs = connect(address)
        job = jobs.of_sweep(ledger.storage.uri)
        if job is not None:
            _stop_job(jobs, job)
            return
    show("nobody drives it now" if driver is None else f"stopped: {driver}")


def _stop_through_storage(ledger: "Ledger") -> "Driver | None":
    """Ask the sweep's driver to stop, wait until it has, and return which it was; None if nobody drives the sweep."""
    from orchestrator.driver import is_driven, request_stop
    from orchestrator.spec import stored_spec

    if is_driven(ledger.storage):
        say("asked the driver to stop; waiting for its trials to save their state")
    return request_stop(ledger.storage, limit_s=stored_spec(ledger).resources.stop_grace_s + 120)


def _stop_job(jobs: "Jobs", job: "Job") -> None:
    """Stop a job unless it has ended, and show how it ended."""
    ended = job if job.is_over else jobs.stop(job.job_id)
    show(f"{ended.job_id}: {ended.status}")


def connect(address: str | None) -> "Jobs":
    """Connect to a cluster's jobs; without an address, where ``ray dashboard`` makes its dashboard available."""
    import logging

    from orchestrator.cluster import DEFAULT_ADDRESS, Jobs

    logging.getLogger("ray").setLevel(logging.WARNING)  # else it logs uploads and closed connections
    return Jobs(address or DEFAULT_ADDRESS)


def _follow(jobs: "Jobs", job: "Job") -> None:
    """Show a job's output until it ends, and exit with its exit code."""
    try:
        ended = jobs.follow(job.job_id, _write)
    except KeyboardInterrupt:
        say(f"\nthe job keeps running; to stop it: {command('stop', job.uri, '--address', jobs.address)}")
        raise typer.Exit(128 + signal.SIGINT) from None
    say(f"{ended.job_id}: {ended.status}")
    if ended.status == "STOPPED":
        raise typer.Exit(128 + signal.SIGTERM)
    if ended.status == "FAILED" and not ended.exit_code:
        raise RunStoppedError(
            f"the job's driver was lost: {ended.message}\n"
            f"resume it with: {command('resume', ended.uri, '--address', jobs.address)}"
        )
    raise typer.Exit(ended.exit_code or 0)


def _write(text: str) -> None:
    """Write a job's output. What a progress bar wrote over itself becomes lines."""
    write(clean(text.replace("\r\n", "\n").replace("\r", "\n")).encode())
