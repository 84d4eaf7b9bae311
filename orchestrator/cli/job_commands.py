"""The commands for sweeps that run elsewhere: doctor, submit, logs, stop."""

import signal
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.console import left_out, print_json, say, show, show_folded, write
from orchestrator.cli.options import (
    AddressOption,
    ElsewhereOption,
    EnvironmentOption,
    ForceOption,
    JsonOption,
    NameOption,
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
from orchestrator.ledger import DEFAULT_STORAGE, PREPARATION, SPEC, open_sweep, sweeps_in
from orchestrator.safe_text import clean, command
from orchestrator.storage import open_storage

if TYPE_CHECKING:
    from orchestrator.cluster import Job, Jobs
    from orchestrator.driver import Driver
    from orchestrator.ledger import Ledger

FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show what it prints until it ends.")]


def doctor(
    spec: Annotated[str | None, typer.Argument(help="A spec to run; none: look at machine and storage alone.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look whether a sweep could run: on this machine, or on the cluster that RAY_ADDRESS names."""
    from orchestrator.spec import load_spec

    loaded = None
    if spec is not None:
        loaded = load_spec(spec, overrides=tuple(overrides or ())).trusting_remote_code(trust_remote_code)
    from orchestrator.run import examine  # after the spec: a mistake in it is said at once

    checks = []
    for check in examine(loaded, storage=storage, workers=workers):
        checks.append(check)
        if not as_json:
            show_folded(f"{'ok' if check.ok else 'NO':3} {check.name}: {check.found}", indent="    ")
    if as_json:
        print_json([asdict(check) for check in checks])
    if not all(check.ok for check in checks):
        raise typer.Exit(2)


def submit(
    spec: SpecArgument = None,
    address: AddressOption = None,
    follow: FollowOption = False,
    name: NameOption = None,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep if it exists.")] = False,
    retry_failed: RetryFailedOption = False,
    force: ForceOption = False,
    take_over: TakeOverOption = False,
    trust_remote_code: TrustOption = False,
    retries: RetriesOption = 0,
    environment: EnvironmentOption = None,
    check: Annotated[bool, typer.Option(help="Look first whether the sweep can run there.")] = True,
) -> None:
    """Run a sweep on a cluster, as a Ray Job. The code goes along as it is here."""
    from orchestrator.cluster import environment_of, require_reachable, submit_sweep
    from orchestrator.spec import load_spec

    loaded = load_spec(spec, overrides=tuple(overrides or ()), name=name)
    require_reachable(storage)
    resume = resume or retry_failed
    if not resume:
        _require_new(f"{storage.rstrip('/')}/{loaded.name}")
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
            trust_remote_code=trust_remote_code,
        ),
        environment=environment_of(environment or ()),
        retries=retries,
        check=check,
    )
    submitted(jobs, job_id, follow=follow)


def _require_new(uri: str) -> None:
    """Refuse to submit what the job would refuse, as far as can be seen from here."""
    from contextlib import suppress

    with suppress(StorageError):
        if open_storage(uri).read(SPEC) is not None:
            raise SweepError(f"there is a sweep at {uri}; add --resume to go on with it, or choose another --name")


def run_options(*, workers: int | None, **flags: bool) -> list[str]:
    """Write options of ``run`` and ``resume`` as they are given."""
    given = [f"--{name.replace('_', '-')}" for name, is_set in flags.items() if is_set]
    return [*given, *(["--workers", str(workers)] if workers is not None else [])]


def submitted(jobs: "Jobs", job_id: str, *, follow: bool) -> None:
    """Say how to go on from a submitted job, or follow it."""
    job = jobs.job(job_id)
    at = ("--address", jobs.address)
    say(f"submitted {job.job_id}")
    if follow:
        _follow(jobs, job)
        return
    show(
        f"follow it: {command('logs', job.job_id, '--follow', *at)}\n"
        f"how far it is: {command('status', job.uri, *at)}\n"
        f"stop it: {command('stop', job.uri, *at)}"
    )


def status(
    sweep: Annotated[
        str | None, typer.Argument(help="A sweep's name under the storage, or its own folder or URI; none: all.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    address: ElsewhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far a sweep has come, from its ledger; with --address, also its job. Without a sweep: all there are."""
    jobs: list[Job] = connect(address).list() if address is not None else []
    if sweep is not None:
        found = [_status_of(sweep, storage, jobs)]
    else:
        places = dict.fromkeys([*sweeps_in(storage), *(job.uri for job in jobs)])
        found = [_status_at(place, jobs) for place in places]
    _show_status(found, one=sweep is not None, as_json=as_json)
    if not found and not as_json:
        show(f"no sweep in {storage}{f', and no job at {address}' if address is not None else ''}")
    skipped = sum(len(one.get("skipped_files", ())) for one in found)
    if skipped:
        say(f"unlearn-sweep: {left_out(skipped)}")
        raise typer.Exit(1)


def _show_status(found: list[dict[str, Any]], *, one: bool, as_json: bool) -> None:
    from orchestrator.monitor import status_text

    if as_json:
        print_json(found[0] if one else found)
        return
    for index, entry in enumerate(found):
        progress, _, rest = status_text(entry).partition("\n")
        show("", end="\n" if index else "")
        show_folded(progress, indent="  ")
        show(rest)
        if entry["job"] is not None:
            job = entry["job"]
            show(f"job {job['job_id']}: {job['status']}, submitted {job['submitted_at']}")


def _status_of(sweep: str, storage: str, jobs: "Sequence[Job]") -> dict[str, Any]:
    """Tell of one sweep; of one whose folder is not seen from here, its newest job alone.

    Raises:
        SweepError, StorageError: there is neither.
    """
    from orchestrator.monitor import sweep_status

    try:
        one = sweep_status(open_sweep(sweep, storage))
    except (SweepError, StorageError):
        named = [job for job in jobs if sweep.rstrip("/") in (job.uri, job.sweep, job.job_id)]
        if not named:
            raise
        return {"sweep": named[0].sweep, "uri": named[0].uri, "job": asdict(named[0])}
    return {**one, "job": _newest(one["uri"], jobs)}


def _status_at(uri: str, jobs: "Sequence[Job]") -> dict[str, Any]:
    """Tell of the sweep at a place; where it cannot be read, say why."""
    from orchestrator.monitor import sweep_status

    try:
        one = sweep_status(open_sweep(uri))
    except (SweepError, StorageError) as error:
        one = {"sweep": uri.rpartition("/")[2], "uri": uri, "error": str(error)}
    return {**one, "job": _newest(uri, jobs)}


def _newest(uri: str, jobs: "Sequence[Job]") -> dict[str, Any] | None:
    return next((asdict(job) for job in jobs if job.uri == uri), None)


def logs(
    sweep: Annotated[str, typer.Argument(help="A sweep's name or URI, or a job's id.")],
    address: AddressOption = None,
    follow: FollowOption = False,
    trial: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Instead: what went wrong with a trial, by its id or the beginning of it; 'preparation': with the "
            "models.",
        ),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show what a sweep's newest job has printed. With --follow, the exit code is the job's."""
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
    """Read what went wrong with a trial; of one without a log, what is known.

    Raises:
        SweepError: no trial's id begins so, or several do.
    """
    from orchestrator.points import find_trial

    if trial == PREPARATION:
        return (ledger.log(PREPARATION) or f"{ledger.storage.uri}: nothing went wrong with its models").rstrip()
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
    """Stop a sweep in good order, wherever it runs: its trials save where they are. Waits until it has stopped."""
    try:
        ledger = open_sweep(sweep, storage)
    except (SweepError, StorageError):
        if address is None:
            raise
        jobs = connect(address)
        _stop_job(jobs, jobs.find(sweep))  # its folder is not seen from here
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
    """Ask whoever drives the sweep to stop, and wait until that is done; None: nobody drives it."""
    from orchestrator.driver import is_driven, request_stop
    from orchestrator.spec import stored_spec

    if is_driven(ledger.storage):
        say("asked to stop; waiting for its trials to save where they are")
    return request_stop(ledger.storage, limit_s=stored_spec(ledger).resources.stop_grace_s + 120)


def _stop_job(jobs: "Jobs", job: "Job") -> None:
    ended = job if job.is_over else jobs.stop(job.job_id)
    show(f"{ended.job_id}: {ended.status}")


def connect(address: str | None) -> "Jobs":
    """Connect to the jobs of a cluster; without an address, to where a tunnel makes its dashboard appear."""
    import logging

    from orchestrator.cluster import DEFAULT_ADDRESS, Jobs

    logging.getLogger("ray").setLevel(logging.WARNING)  # not what was uploaded, nor that a connection was closed
    return Jobs(address or DEFAULT_ADDRESS)


def _follow(jobs: "Jobs", job: "Job") -> None:
    """Show a job's output until it ends, and end as it did."""
    try:
        ended = jobs.follow(job.job_id, _write)
    except KeyboardInterrupt:
        say(f"\nthe job goes on; to stop it: {command('stop', job.uri, '--address', jobs.address)}")
        raise typer.Exit(128 + signal.SIGINT) from None
    say(f"{ended.job_id}: {ended.status}")
    if ended.status == "STOPPED":
        raise typer.Exit(128 + signal.SIGTERM)
    if ended.status == "FAILED" and not ended.exit_code:
        raise RunStoppedError(
            f"the job's driver was lost: {ended.message}\n"
            f"go on with: {command('resume', ended.uri, '--address', jobs.address)}"
        )
    raise typer.Exit(ended.exit_code or 0)


def _write(text: str) -> None:
    """Write what a job has printed. What a progress bar writes over itself becomes lines."""
    write(clean(text.replace("\r\n", "\n").replace("\r", "\n")).encode())
