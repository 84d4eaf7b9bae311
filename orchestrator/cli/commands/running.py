"""The commands that run sweeps: run, resume."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

import typer

from orchestrator.cli.commands import jobs as job_commands
from orchestrator.cli.console import err, out, quiet_optuna, say
from orchestrator.cli.options import (
    ElsewhereOption,
    EnvironmentOption,
    ExecutorOption,
    ForceOption,
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
from orchestrator.errors import (
    IrregularFileError,
    RunStoppedError,
    StorageError,
    SweepError,
    SweepExistsError,
    SweepGoneError,
    SweepInterruptedError,
    TrialsFailAlikeError,
)
from orchestrator.ledger import DEFAULT_STORAGE, SPEC, Ledger, open_sweep
from orchestrator.run import ExecutorName
from orchestrator.safe_text import command, quoted_sql
from orchestrator.storage import is_unusable, open_storage


def run(
    spec: SpecArgument = None,
    name: NameOption = None,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: WorkersOption = None,
    overrides: SetOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the sweep if it exists, with what this spec adds to it.")
    ] = False,
    retry_failed: RetryFailedOption = False,
    force: ForceOption = False,
    take_over: TakeOverOption = False,
    trust_remote_code: TrustOption = False,
    executor: ExecutorOption = ExecutorName.RAY,
) -> None:
    """Run a sweep on this machine, or on the cluster that RAY_ADDRESS names."""
    from orchestrator.run import RunOptions
    from orchestrator.spec import load_spec

    loaded = load_spec(spec, overrides=tuple(overrides or ()), name=name).trusting_remote_code(trust_remote_code)
    resume = resume or retry_failed
    options = RunOptions(resume=resume, retry_failed=retry_failed, force=force, take_over=take_over, executor=executor)
    try:
        _run(loaded, storage=storage, workers=workers, options=options)
    except SweepExistsError as error:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        say(f"unlearn-sweep: {error}")
        if not typer.confirm("Go on with it?", err=True):
            raise typer.Exit(2) from None
        _run(loaded, storage=storage, workers=workers, options=replace(options, resume=True))


def resume(
    sweep: SweepArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    workers: WorkersOption = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of each stratum: more than before.")] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="80,100", help="Further points of the step axis, beyond its last.")
    ] = None,
    overrides: SetOption = None,
    retry_failed: RetryFailedOption = False,
    force: ForceOption = False,
    take_over: TakeOverOption = False,
    trust_remote_code: TrustOption = False,
    executor: ExecutorOption = ExecutorName.RAY,
    address: ElsewhereOption = None,
    retries: RetriesOption = 0,
    environment: EnvironmentOption = None,
) -> None:
    """Go on with an interrupted sweep from what its ledger holds, or extend a finished one."""
    from orchestrator.run import RunOptions
    from orchestrator.spec import amend_spec, stored_spec

    if address is None and (retries or environment):
        raise SweepError("--retries and --env belong to a job on a cluster: give its --address, or leave them out")
    if address is not None:
        if executor is ExecutorName.INLINE:
            raise SweepError("--executor inline runs in this process, and --address names a cluster: leave one out")
        _resume_there(
            sweep,
            storage=storage,
            address=address,
            options=[
                *job_commands.run_options(
                    workers=workers,
                    retry_failed=retry_failed,
                    force=force,
                    take_over=take_over,
                    trust_remote_code=trust_remote_code,
                ),
                *(["--trials", str(trials)] if trials is not None else []),
                *(["--steps", steps] if steps is not None else []),
                *(part for override in overrides or () for part in ("--set", override)),
            ],
            environment=environment or (),
            retries=retries,
        )
        return
    ledger = open_sweep(sweep, storage)
    parent, _, folder = ledger.storage.uri.rstrip("/").rpartition("/")
    if folder != ledger.sweep:
        raise SweepError(
            f"{ledger.storage.uri}: the folder was renamed: its sweep is '{ledger.sweep}'; name it so to go on with it"
        )
    before = stored_spec(ledger)
    changes = list(overrides or ())
    if trials is not None:
        changes.append(f"search.trials={trials}")
    if steps is not None:
        changes.append(f"steps=[{', '.join(map(str, before.steps))}, {steps}]")
    spec = amend_spec(before, changes).trusting_remote_code(trust_remote_code)
    if spec.name != before.name:
        raise SweepError(f"--set name={spec.name}: a sweep that goes on keeps its name, '{before.name}'")
    options = RunOptions(resume=True, retry_failed=retry_failed, force=force, take_over=take_over, executor=executor)
    _run(spec, storage=parent, workers=workers, options=options)


def _resume_there(
    sweep: str, *, storage: str, address: str, options: list[str], environment: Sequence[str], retries: int
) -> None:
    from orchestrator.cluster import environment_of, submit_resume

    jobs = job_commands.connect(address)
    job_id = submit_resume(
        jobs, sweep, storage=storage, options=options, environment=environment_of(environment), retries=retries
    )
    job_commands.submitted(jobs, job_id, follow=False)


def _run(spec: Any, *, storage: str, workers: int | None, options: Any) -> None:
    from orchestrator.driver import require_undriven
    from orchestrator.report import packed_ahead

    uri = f"{storage.rstrip('/')}/{spec.name}"
    with suppress(StorageError):  # the run will say so
        place = open_storage(f"{open_storage(storage).uri}/{spec.name}")
        require_undriven(place, spec.name, take_over=options.take_over)
    with packed_ahead() as script:
        _run_and_show(spec, uri, script, storage=storage, workers=workers, options=options)


def _run_and_show(spec: Any, uri: str, script: Callable[[], str], *, storage: str, **settings: Any) -> None:
    """Run a sweep to its end, then show its frontiers and write its report. It loads Ray and PyTorch."""
    from orchestrator.cli.frontier_tables import frontier_summary
    from orchestrator.cli.progress import RunProgress
    from orchestrator.frontier import frontiers

    console = out()
    progress = RunProgress(console, err())
    try:
        with progress.live():
            progress.doing("loading libraries")
            from orchestrator.run import run_sweep

            quiet_optuna()
            summary = run_sweep(spec, storage=storage, events=progress, **settings)
    except SweepInterruptedError as error:
        if not progress.begun and open_storage(uri).read(SPEC) is None:
            say("stopped; nothing was begun")
        else:
            say(f"stopped; every evaluation so far is committed. Continue with: {command('resume', uri)}")
        raise typer.Exit(128 + error.signal_number) from None
    except SweepGoneError:
        raise  # there is nothing to go on with
    except TrialsFailAlikeError as error:
        say(f"unlearn-sweep: {error}")
        raise typer.Exit(1) from None
    except RunStoppedError as error:
        begun = progress.begun or _has_begun(Ledger(storage=open_storage(uri), sweep=spec.name))
        if not begun and isinstance(error, StorageError) and is_unusable(error):
            raise SweepError(
                f"storage '{storage}' cannot be used: {error}; nothing was begun; give a folder that you can write, or "
                f"a URI whose store you can reach, by --storage"
            ) from None
        then = f"what was committed stands. Go on with: {command('resume', uri)}" if begun else "nothing was begun"
        say(f"unlearn-sweep: {error}\nstopped; {then}")
        raise typer.Exit(1) from None
    endings = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
    lead = "nothing left to do" if summary.was_finished else "done"
    console.print(f"{lead}: {summary.trials} trials{f' ({endings})' if endings else ''}\n", highlight=False)
    for limit in summary.spent_budget:
        setting = limit.partition(":")[0]
        say(f"the budget is spent: {limit}; to go on: {command('resume', uri)} --set {setting}=...")
    ledger = open_sweep(summary.uri)
    console.print(frontier_summary(frontiers(ledger)))
    console.print(f"\nledger: {summary.uri}", soft_wrap=True, highlight=False)
    from orchestrator.report import write_report  # now: the trials had to start first

    report = write_report(ledger, images=False, script=script)
    console.print(f"report: {report}", soft_wrap=True, highlight=False)
    console.print(
        f"ask it: {command('query', summary.uri)} {quoted_sql('from evaluations limit 5')}",
        soft_wrap=True,
        highlight=False,
    )
    if "failed" in summary.statuses:
        from orchestrator.run import failures_described

        say(f"unlearn-sweep: {failures_described(ledger)}")
    if set(summary.statuses) == {"failed"}:
        raise typer.Exit(1)


def _has_begun(ledger: Ledger) -> bool:
    """Return whether there is anything that a sweep could go on from, as far as its storage tells."""
    try:
        return ledger.has_begun()
    except IrregularFileError:
        return True
    except StorageError as error:
        return not is_unusable(error)  # it may be there, behind trouble that passes
