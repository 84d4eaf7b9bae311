"""Run a sweep while the user watches: live progress, how it ended, its frontiers and its report."""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import Any

import typer

from orchestrator.cli.console import err, out, quiet_optuna, say
from orchestrator.errors import (
    IrregularFileError,
    RunStoppedError,
    StorageError,
    SweepError,
    SweepGoneError,
    SweepInterruptedError,
    TrialsFailAlikeError,
)
from orchestrator.ledger import PROFILES, SPEC, Ledger, open_sweep
from orchestrator.safe_text import command, quoted_sql
from orchestrator.storage import is_unusable, open_storage


def run_and_show(spec: Any, *, storage: str, workers: int | None, options: Any) -> None:
    """Run a sweep unless somebody else drives it; the report's script is packed meanwhile."""
    from orchestrator.driver import require_undriven
    from orchestrator.report import packed_ahead

    uri = f"{storage.rstrip('/')}/{spec.name}"
    with suppress(StorageError):  # the run will report it
        place = open_storage(f"{open_storage(storage).uri}/{spec.name}")
        require_undriven(place, spec.name, take_over=options.take_over)
    with packed_ahead() as script:
        _run_then_show(spec, uri, script, storage=storage, workers=workers, options=options)


def _run_then_show(spec: Any, uri: str, script: Callable[[], str], **settings: Any) -> None:
    """Run a sweep to its end, show its frontiers and write its report."""
    summary = _run_to_end(spec, uri, **settings)
    ledger = open_sweep(summary.uri)
    _show_summary(summary, ledger, uri, script)
    if settings["options"].profile:
        _show_traces(ledger)
    if "failed" in summary.statuses:
        from orchestrator.run import failures_described

        say(f"unlearn-sweep: {failures_described(ledger)}")
    if set(summary.statuses) == {"failed"}:
        raise typer.Exit(1)


def _run_to_end(spec: Any, uri: str, *, storage: str, **settings: Any) -> Any:
    """Run a sweep with live progress and return its summary. This loads Ray and PyTorch.

    Raises:
        typer.Exit: the run was stopped; a message says why, and how to resume it.
        SweepError: the storage cannot be used.
        SweepGoneError: the sweep was removed, so there is nothing to resume.
    """
    from orchestrator.cli.progress import RunProgress

    # what the report is made with, a second's work, is imported while trials run
    ahead = Thread(target=import_module, args=("orchestrator.report.page",), name="importing the report")
    progress = RunProgress(out(), err(), on_trials=ahead.start)
    try:
        with progress.live():
            progress.doing("loading libraries")
            from orchestrator.run import run_sweep

            quiet_optuna()
            return run_sweep(spec, storage=storage, events=progress, **settings)
    except SweepInterruptedError as error:
        if not progress.begun and open_storage(uri).read(SPEC) is None:
            say("stopped; nothing was begun")
        else:
            say(f"stopped; every evaluation so far is committed. Resume it with: {command('resume', uri)}")
        raise typer.Exit(128 + error.signal_number) from None
    except SweepGoneError:
        raise
    except TrialsFailAlikeError as error:
        say(f"unlearn-sweep: {error}")
        raise typer.Exit(1) from None
    except RunStoppedError as error:
        begun = progress.begun or _has_begun(Ledger(storage=open_storage(uri), sweep=spec.name))
        if not begun and isinstance(error, StorageError) and is_unusable(error):
            raise SweepError(
                f"storage '{storage}' cannot be used: {error}; nothing was begun; give a folder that you can "
                f"write to, or a URI whose store you can reach, by --storage"
            ) from None
        then = (
            f"everything committed is kept. Resume it with: {command('resume', uri)}" if begun else "nothing was begun"
        )
        say(f"unlearn-sweep: {error}\nstopped; {then}")
        raise typer.Exit(1) from None
    finally:
        if ahead.ident is not None:
            ahead.join()  # some modules start threads, and cannot while Python ends


def _show_summary(summary: Any, ledger: Ledger, uri: str, script: Callable[[], str]) -> None:
    """Print how a run ended and its frontiers, write its report, and print where everything is."""
    from orchestrator.cli.frontier_tables import frontier_summary
    from orchestrator.frontier import frontiers

    console = out()
    endings = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
    lead = "nothing left to do" if summary.was_finished else "done"
    console.print(f"{lead}: {summary.trials} trials{f' ({endings})' if endings else ''}\n", highlight=False)
    for limit in summary.spent_budget:
        setting = limit.partition(":")[0]
        say(f"the budget is spent: {limit}; to allow more: {command('resume', uri)} --set {setting}=...")
    console.print(frontier_summary(frontiers(ledger)))
    console.print(f"\nledger: {summary.uri}", soft_wrap=True, highlight=False)
    from orchestrator.report import write_report  # imported only now, so that trials started sooner

    report = write_report(ledger, images=False, script=script)
    console.print(f"report: {report}", soft_wrap=True, highlight=False)
    console.print(
        f"query it: {command('query', summary.uri)} {quoted_sql('from evaluations limit 5')}",
        soft_wrap=True,
        highlight=False,
    )


def _show_traces(ledger: Ledger) -> None:
    """Print where the traces of the profiler are."""
    for path in ledger.storage.files(PROFILES, ".json.gz"):
        out().print(
            f"profile: {ledger.storage.uri}/{path} (open it at https://ui.perfetto.dev)",
            soft_wrap=True,
            highlight=False,
        )


def _has_begun(ledger: Ledger) -> bool:
    """Return whether there is anything that could be resumed, as far as the storage shows."""
    try:
        return ledger.has_begun()
    except IrregularFileError:
        return True
    except StorageError as error:
        return not is_unusable(error)  # the sweep may be there, behind a temporary fault
