"""The commands that run sweeps here: run, resume; ``resume --address`` submits a job instead."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from orchestrator.cli.commands.jobs import connect, run_options, show_submitted
from orchestrator.cli.console import say
from orchestrator.cli.options import (
    ElsewhereOption,
    EnvironmentOption,
    ExecutorOption,
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
from orchestrator.cli.run_to_end import run_and_show
from orchestrator.errors import SweepError, SweepExistsError
from orchestrator.ledger import DEFAULT_STORAGE, open_sweep
from orchestrator.run import ExecutorName
from trainables.plugins import PluginFile, load_plugins, read_plugins


def run(
    spec: SpecArgument = None,
    name: NameOption = None,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the sweep if it exists, with what this spec adds to it.")
    ] = False,
    retry_failed: RetryFailedOption = False,
    force: ForceOption = False,
    take_over: TakeOverOption = False,
    profile: ProfileOption = False,
    plugins: PluginOption = None,
    trust_remote_code: TrustOption = False,
    executor: ExecutorOption = ExecutorName.RAY,
) -> None:
    """Run a sweep on this machine, or on the cluster that RAY_ADDRESS names."""
    from orchestrator.run import RunOptions
    from orchestrator.spec import load_spec

    files = load_plugins(plugins or ())
    loaded = load_spec(spec, overrides=tuple(overrides or ()), name=name).trusting_remote_code(trust_remote_code)
    loaded = loaded.with_plugins(files)
    resume = resume or retry_failed
    options = RunOptions(
        resume=resume, retry_failed=retry_failed, force=force, take_over=take_over, profile=profile, executor=executor
    )
    try:
        run_and_show(loaded, storage=storage, workers=workers, options=options)
    except SweepExistsError as error:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        say(f"unlearn-sweep: {error}")
        if not typer.confirm("Resume it?", err=True):
            raise typer.Exit(2) from None
        run_and_show(loaded, storage=storage, workers=workers, options=replace(options, resume=True))


def resume(
    sweep: SweepArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: WorkersOption = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of each stratum, more than before.")] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="80,100", help="Further points of the step axis, beyond its last one.")
    ] = None,
    overrides: SetOption = None,
    retry_failed: RetryFailedOption = False,
    force: ForceOption = False,
    take_over: TakeOverOption = False,
    profile: ProfileOption = False,
    plugins: PluginOption = None,
    trust_remote_code: TrustOption = False,
    executor: ExecutorOption = ExecutorName.RAY,
    address: ElsewhereOption = None,
    retries: RetriesOption = 0,
    environment: EnvironmentOption = None,
) -> None:
    """Resume an interrupted sweep from what its ledger holds, or extend a finished one."""
    from orchestrator.run import RunOptions
    from orchestrator.spec import amend_spec, stored_spec_to_run

    if address is None and (retries or environment):
        raise SweepError(
            "--retries and --env belong to a job on a cluster: give the cluster's --address too, or leave them out"
        )
    if address is not None:
        if executor is ExecutorName.INLINE:
            raise SweepError("--executor inline runs in this process, and --address names a cluster: leave one out")
        _resume_there(
            sweep,
            storage=storage,
            address=address,
            options=[
                *run_options(
                    workers=workers,
                    retry_failed=retry_failed,
                    force=force,
                    take_over=take_over,
                    profile=profile,
                    trust_remote_code=trust_remote_code,
                ),
                *(["--trials", str(trials)] if trials is not None else []),
                *(["--steps", steps] if steps is not None else []),
                *(part for override in overrides or () for part in ("--set", override)),
            ],
            environment=environment or (),
            retries=retries,
            plugins=read_plugins(plugins or ()),
        )
        return
    files = load_plugins(plugins or ())
    ledger = open_sweep(sweep, storage)
    parent, _, folder = ledger.storage.uri.rstrip("/").rpartition("/")
    if folder != ledger.sweep:
        raise SweepError(
            f"{ledger.storage.uri}: the folder was renamed, its sweep is '{ledger.sweep}'; rename it back to resume it"
        )
    before = stored_spec_to_run(ledger, files)
    changes = list(overrides or ())
    if trials is not None:
        changes.append(f"search.trials={trials}")
    if steps is not None:
        changes.append(f"steps=[{', '.join(map(str, before.steps))}, {steps}]")
    spec = amend_spec(before, changes).trusting_remote_code(trust_remote_code)
    if spec.name != before.name:
        raise SweepError(
            f"--set name={spec.name}: a sweep that is resumed keeps its name, '{before.name}'; leave this out"
        )
    options = RunOptions(
        resume=True, retry_failed=retry_failed, force=force, take_over=take_over, profile=profile, executor=executor
    )
    run_and_show(spec, storage=parent, workers=workers, options=options)


def _resume_there(
    sweep: str,
    *,
    storage: str,
    address: str,
    options: list[str],
    environment: Sequence[str],
    retries: int,
    plugins: Sequence[PluginFile],
) -> None:
    """Submit a job that resumes a sweep on a cluster."""
    from orchestrator.cluster import environment_of, submit_resume

    variables = environment_of(environment)
    jobs = connect(address)
    job_id = submit_resume(
        jobs, sweep, storage=storage, options=options, environment=variables, retries=retries, plugins=plugins
    )
    show_submitted(jobs, job_id, follow=False)
