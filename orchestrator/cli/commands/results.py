"""The commands that read a sweep's results: query, frontier, merge, report."""

import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import left_out, out, print_json, quiet_optuna, require_whole, show, write
from orchestrator.cli.options import JsonOption, StorageOption, SweepArgument
from orchestrator.errors import SweepError
from orchestrator.ledger import DEFAULT_STORAGE, DriverWriter, open_sweep
from orchestrator.query import DEFAULT_TIMEOUT_S, Limits, parse_size
from orchestrator.safe_text import command


class Format(StrEnum):
    """The formats in which ``query`` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    MARKDOWN = "markdown"


def query(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="SWEEP... SQL", help="One or more sweeps, then the SQL.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="The format of the output.")] = Format.TABLE,
    storage: StorageOption = DEFAULT_STORAGE,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print every column's type, unit and meaning instead.")
    ] = False,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="The most memory that the query may take, such as 8GiB. Default: 4 GiB, or half of the machine's "
            "memory if that is less.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="The longest that the query may take; inf for no limit.")
    ] = DEFAULT_TIMEOUT_S,
) -> None:
    """Run SQL (DuckDB) over the tables of one or more sweeps: trials, evaluations, examples, baselines,
    forget_examples and probes."""
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
        raise SweepError(
            "query: Parquet cannot be shown on a terminal; send it to a file: --format parquet > rows.parquet"
        )
    else:
        write(FORMATS[output](result))
    require_whole(*ledgers)


def frontier(
    sweep: SweepArgument,
    forget_set: Annotated[str | None, typer.Option(help="Show only this forget set.")] = None,
    objectives: Annotated[
        tuple[str, str],
        typer.Option(
            metavar="X Y",
            help="Two numbers of an evaluation, each minimised, or maximised where more is better. For a signed "
            "exposure, its distance to the value of a model that never saw the forget set is minimised.",
        ),
    ] = ("unlearning_quality", "performance"),
    exposure_at_most: Annotated[
        list[float] | None, typer.Option(metavar="X", help="Show what reaches this exposure (bits); repeatable.")
    ] = None,
    performance_at_most: Annotated[
        float,
        typer.Option(metavar="Y", help="With --exposure-at-most: and stays within this performance (nats/token)."),
    ] = math.inf,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="PROBE",
            help="Show what this probe found on points that were probed, after its strongest variant, beside before.",
        ),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Show the Pareto frontier of unlearning against performance, for each forget set."""
    from orchestrator.cli.frontier_tables import frontier_report
    from orchestrator.cli.probe_tables import after_tables
    from orchestrator.frontier import frontiers, probed_after

    ledger = open_sweep(sweep, storage)
    result = frontiers(
        ledger,
        forget_set,
        objectives=objectives,
        exposures_at_most=exposure_at_most or (),
        performance_at_most=performance_at_most,
    )
    found = [] if after is None else probed_after(ledger, after, forget_set)
    if as_json:
        skipped = {"skipped_files": sorted(ledger.skipped)}
        if after is None:
            print_json([{**f.as_json(), **skipped} for f in result])
        else:
            probed = {own.forget_set: own.after_as_json(after) for own in found}
            print_json([{**f.as_json(), **skipped, "after": probed.get(f.forget_set)} for f in result])
    elif after is not None:
        out().print(after_tables(found, result, after))
    elif not ledger.has_evaluations():
        show(f"nothing was evaluated yet; see its progress with: {command('status', ledger.storage.uri)}")
    else:
        out().print(frontier_report(result))
    require_whole(ledger)


def merge(sweep: SweepArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Merge a sweep's small files into sorted copies that queries read faster. A run that finishes does this itself."""
    ledger = open_sweep(sweep, storage)
    DriverWriter(ledger).merge()
    show(f"{ledger.storage.uri}/merged")
    require_whole(ledger)


def report(
    sweep: SweepArgument,
    out: Annotated[Path | None, typer.Option(help="Write the page here instead of into the sweep.")] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Leave out the texts of the examples.")] = False,
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
