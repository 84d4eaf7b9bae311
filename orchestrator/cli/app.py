"""The command ``unlearn-sweep``. Heavy modules are imported by the command that needs them."""

import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from orchestrator.cli import export_command, job_commands
from orchestrator.cli.cluster_commands import cluster_app
from orchestrator.cli.console import (
    err,
    left_out,
    out,
    print_json,
    print_whatever_the_locale,
    quiet_optuna,
    require_whole,
    say,
    show,
    write,
)
from orchestrator.cli.options import (
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
from orchestrator.errors import (
    IrregularFileError,
    LedgerWarning,
    RunStoppedError,
    StorageError,
    SweepError,
    SweepExistsError,
    SweepGoneError,
    SweepInterruptedError,
    TrialsFailAlikeError,
)
from orchestrator.ledger import DEFAULT_STORAGE, SPEC, DriverWriter, Ledger, open_sweep
from orchestrator.query import DEFAULT_TIMEOUT_S, Limits, parse_size
from orchestrator.safe_text import clean, command, quoted_sql
from orchestrator.storage import is_unusable, open_storage
from search_spaces import SpaceError
from trainables.errors import DataWarning, UnlearningError

app = typer.Typer(
    name="unlearn-sweep",
    help="Map what it costs to unlearn data from a language model with gradient ascent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

TRACK_EVERY_S = 5.0
"""Seconds between two looks at a sweep that is followed."""


class Format(StrEnum):
    """How ``query`` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    MARKDOWN = "markdown"


_NOT_CHECKED = "texts, token lengths and the model were not checked (--no-estimate)"


@app.command()
def plan(
    spec: SpecArgument = None,
    overrides: SetOption = None,
    workers: WorkersOption = None,
    estimate: Annotated[
        bool, typer.Option(help="Check texts and the model too, and time steps on this machine; or sizes only.")
    ] = True,
    trust_remote_code: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a sweep will cost: sets, trials, steps, what the shared step axis saves, time, GPU-hours."""
    from orchestrator.cli.tables import plan_table
    from orchestrator.plan import fits_here, plan_sweep
    from orchestrator.spec import load_spec

    loaded = load_spec(spec, overrides=tuple(overrides or ())).trusting_remote_code(trust_remote_code)
    known = _look_and_time(loaded) if estimate else _look_at_sizes(loaded, _NOT_CHECKED)
    at_once = workers or loaded.resources.concurrent_limit or fits_here(loaded.resources)
    result = plan_sweep(**known, concurrent_trials=at_once)
    print_json(result.as_json()) if as_json else out().print(plan_table(result))


def _look_at_sizes(spec: Any, unchecked: str | None) -> dict[str, Any]:
    """Check what is known before a text is read, and say what was not: arguments of ``plan_sweep``."""
    from orchestrator.preparation import look_at_sizes

    looked = look_at_sizes(spec)
    for what in (unchecked, looked.unchecked):
        if what is not None:
            say(f"unlearn-sweep: {what}")
    return {"spec": looked.spec, "sizes": looked.sizes}


def _look_and_time(spec: Any) -> dict[str, Any]:
    """Check what a sweep would fail at, and time its steps and what a run takes besides: arguments of ``plan_sweep``.

    It loads PyTorch.
    """
    from orchestrator.plan import measure_overheads, time_steps, typical_lengths
    from orchestrator.preparation import look_at

    looked = look_at(spec)
    inputs = looked.inputs
    if inputs is not None:
        times = time_steps(inputs.spec, typical_lengths(inputs), sizes=inputs.sizes)
        return {"spec": inputs.spec, "inputs": inputs, "times": times, "overheads": measure_overheads()}
    known = _look_at_sizes(spec, looked.unchecked)
    if known["sizes"] is None:
        return known
    return {**known, "times": time_steps(known["spec"], sizes=known["sizes"]), "overheads": measure_overheads()}


@app.command()
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
) -> None:
    """Run a sweep on this machine, or on the cluster that RAY_ADDRESS names."""
    from orchestrator.run import RunOptions
    from orchestrator.spec import load_spec

    loaded = load_spec(spec, overrides=tuple(overrides or ()), name=name).trusting_remote_code(trust_remote_code)
    resume = resume or retry_failed
    options = RunOptions(resume=resume, retry_failed=retry_failed, force=force, take_over=take_over)
    try:
        _run(loaded, storage=storage, workers=workers, options=options)
    except SweepExistsError as error:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        say(f"unlearn-sweep: {error}")
        if not typer.confirm("Go on with it?", err=True):
            raise typer.Exit(2) from None
        _run(loaded, storage=storage, workers=workers, options=replace(options, resume=True))


@app.command()
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
    options = RunOptions(resume=True, retry_failed=retry_failed, force=force, take_over=take_over)
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


@app.command()
def query(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="SWEEP... SQL", help="One or more sweeps, then the SQL.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    storage: StorageOption = DEFAULT_STORAGE,
    schema: Annotated[bool, typer.Option("--schema", help="Print the columns: type, unit, meaning.")] = False,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The most memory it may take, such as 8GiB; none: 4 GiB or half of what is."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="The longest it may take; inf: as long as it likes.")
    ] = DEFAULT_TIMEOUT_S,
) -> None:
    """Run SQL (DuckDB) over the tables of one or more sweeps: trials, evaluations, examples, baselines and
    forget_examples."""
    from orchestrator.cli.tables import result_table
    from orchestrator.ledger import describe_columns
    from orchestrator.query import FORMATS
    from orchestrator.query import query as run_query

    limits = Limits(memory_bytes=None if memory_limit is None else parse_size(memory_limit), timeout_s=timeout)
    *sweeps, sql = arguments or [""]
    ledgers = [open_sweep(sweep, storage) for sweep in sweeps]
    if schema:
        result = describe_columns()
    elif sweeps:
        result = run_query(ledgers, sql, limits)
    else:
        raise SweepError(
            'query: give a sweep, then the SQL: unlearn-sweep query SWEEP "select * from evaluations limit 5"; '
            "its columns: unlearn-sweep query --schema"
        )
    if output is Format.TABLE:
        console = out()
        console.print(result_table(result, width=console.width))
        if skipped := sum(len(ledger.skipped) for ledger in ledgers):
            console.print(left_out(skipped), soft_wrap=True, highlight=False)
    elif output is Format.PARQUET and sys.stdout.isatty():
        raise SweepError("query: Parquet is not for a terminal; send it to a file: --format parquet > rows.parquet")
    else:
        write(FORMATS[output](result))
    require_whole(*ledgers)


@app.command()
def frontier(
    sweep: SweepArgument,
    forget_set: Annotated[str | None, typer.Option(help="Only this forget set.")] = None,
    objectives: Annotated[
        tuple[str, str],
        typer.Option(
            metavar="X Y",
            help="Two numbers of an evaluation, both minimised; signed exposures by their distance to what a model has "
            "that never saw the forget set.",
        ),
    ] = ("unlearning_quality", "performance"),
    exposure_at_most: Annotated[
        list[float] | None, typer.Option(metavar="X", help="Say what reaches this exposure (bits); repeatable.")
    ] = None,
    performance_at_most: Annotated[
        float, typer.Option(metavar="Y", help="... within this performance (nats/token).")
    ] = math.inf,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Show the Pareto frontier of unlearning against performance, by forget set."""
    from orchestrator.cli.frontier_tables import frontier_report
    from orchestrator.frontier import frontiers

    ledger = open_sweep(sweep, storage)
    result = frontiers(
        ledger,
        forget_set,
        objectives=objectives,
        exposures_at_most=exposure_at_most or (),
        performance_at_most=performance_at_most,
    )
    if as_json:
        print_json([{**f.as_json(), "skipped_files": sorted(ledger.skipped)} for f in result])
    elif not ledger.has_evaluations():
        show(f"nothing was evaluated yet; how far it is: {command('status', ledger.storage.uri)}")
    else:
        out().print(frontier_report(result))
    require_whole(ledger)


@app.command()
def merge(sweep: SweepArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Merge a sweep's small files into sorted copies that queries read faster. A finished run does it itself."""
    ledger = open_sweep(sweep, storage)
    DriverWriter(ledger).merge()
    show(f"{ledger.storage.uri}/merged")
    require_whole(ledger)


@app.command()
def track(
    sweep: SweepArgument,
    tensorboard: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Event files: tensorboard --logdir FOLDER")
    ] = None,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Weights & Biases; WANDB_MODE=offline is honoured.")
    ] = None,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="MLflow: sqlite:///mlflow.db, or a server.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until nobody drives the sweep; Ctrl-C ends it.")
    ] = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show a sweep's trials in TensorBoard, Weights & Biases, MLflow, or several of them: one run a trial."""
    from orchestrator.driver import Watch
    from orchestrator.monitor import Tracking, open_trackers

    ledger = open_sweep(sweep, storage)
    trackers = open_trackers({"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}, ledger.sweep)
    tracking = Tracking(ledger, trackers)
    written = 0
    watch = Watch(ledger.storage)
    while follow and watch.look() is not None:
        written += tracking.update()
        time.sleep(TRACK_EVERY_S)
    written += tracking.update()  # after the last look at the driver: what it wrote at its end too
    for tracker in trackers:
        show(f"{written} evaluations {tracker.where}")
    require_whole(ledger)


@app.command()
def report(
    sweep: SweepArgument,
    out: Annotated[Path | None, typer.Option(help="Write the page here instead of into the sweep.")] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Leave the texts of the examples out.")] = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Write a sweep's report: one self-contained HTML page, and its figures as PNG and SVG beside it."""
    from orchestrator.report import write_report, write_report_to
    from orchestrator.storage import LocalStorage

    quiet_optuna()
    ledger = open_sweep(sweep, storage)
    if out is None:
        show(write_report(ledger, redact=redact))
    else:
        target = LocalStorage(out.absolute().parent)
        show(write_report_to(ledger, target, page=out.name, figures=f"{out.stem}_files", redact=redact))
    require_whole(ledger)


for function in (
    export_command.export,
    job_commands.status,
    job_commands.stop,
    job_commands.doctor,
    job_commands.submit,
    job_commands.logs,
):
    app.command()(function)
app.add_typer(cluster_app, name="cluster")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print our own warnings as messages, and others as Python does."""
    if issubclass(category, LedgerWarning | DataWarning):
        say(f"unlearn-sweep: {message}")
    else:
        (file or sys.stderr).write(clean(warnings.formatwarning(message, category, filename, lineno, line)))


def main() -> None:
    """Run the command. A user's mistake prints one message and exits with 2."""
    print_whatever_the_locale()
    warnings.showwarning = _show_warning
    for category in (LedgerWarning, DataWarning):
        warnings.simplefilter("always", category)
    try:
        app()
    except (SweepError, UnlearningError, SpaceError) as error:
        say(f"unlearn-sweep: {error}")
        sys.exit(2)
    except RunStoppedError as error:
        say(f"unlearn-sweep: {error}")
        sys.exit(1)
    except MemoryError as error:
        say(f"unlearn-sweep: this machine has too little memory for it ({error}); nothing was changed by that")
        sys.exit(1)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        err().print(f"unlearn-sweep:{place} {error.strerror or error}", soft_wrap=True)
        sys.exit(1)
