"""The command that tries probes on chosen points of a sweep: probe."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from orchestrator.cli.console import print_json, require_whole, say, show
from orchestrator.cli.options import (
    ExecutorOption,
    JsonOption,
    PluginOption,
    StorageOption,
    SweepArgument,
    TakeOverOption,
    TrustOption,
)
from orchestrator.errors import RunStoppedError, SweepError, SweepInterruptedError
from orchestrator.ledger import DEFAULT_STORAGE, PROBING, open_sweep
from orchestrator.run import ExecutorName
from orchestrator.safe_text import command
from trainables.plugins import load_plugins

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger
    from orchestrator.probing import Choice, ProbeSummary

ALL = "all"
"""Value of ``--frontier`` where it is given without a number."""


class ProbeCommand(TyperCommand):
    """The command, whose option ``--frontier`` may stand without its number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with ``ALL`` behind a ``--frontier`` that no number follows."""
        given: list[str] = []
        for index, argument in enumerate(args):
            given.append(argument)
            if argument == "--frontier" and not "".join(args[index + 1 : index + 2]).isdecimal():
                given.append(ALL)
        return super().parse_args(ctx, given)


def probe(
    sweep: SweepArgument,
    frontier: Annotated[
        str | None,
        typer.Option(metavar="[N]", help="Take the points of each frontier; with a number, at most so many of each."),
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(metavar='"exposure<=2"', help="Take the best evaluation within these bounds, as export does."),
    ] = None,
    forget_set: Annotated[str | None, typer.Option(help="Take only points of this forget set.")] = None,
    trial: Annotated[str | None, typer.Option(help="A trial's id, or the beginning of it.")] = None,
    step: Annotated[int | None, typer.Option(min=0, help="A step at which the trial was evaluated.")] = None,
    probes: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            metavar="NAME",
            help="What to try; repeatable. Default: the probes of the spec, or relearning, quantization and rewording.",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="probes.NAME.KEY=VALUE", help="Override a setting of a probe, this time; repeatable."
        ),
    ] = None,
    take_over: TakeOverOption = False,
    trust_remote_code: TrustOption = False,
    plugins: PluginOption = None,
    executor: ExecutorOption = ExecutorName.RAY,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Try to get back what was unlearned: at chosen points, by default the cheapest, the knee and the one that is as
    if never trained of each frontier; and beside them on the base and reference models."""
    from orchestrator.driver import require_undriven
    from orchestrator.probing import Choice, probe_sweep

    files = load_plugins(plugins or ())
    ledger = open_sweep(sweep, storage)
    choice = Choice(
        on_frontier=frontier is not None,
        most=_number(frontier),
        best=best,
        forget_set=forget_set,
        trial=trial,
        step=step,
    )
    require_undriven(ledger.storage, ledger.sweep, take_over=take_over)
    try:
        summary = probe_sweep(
            ledger,
            choice,
            probes=probes or (),
            overrides=overrides or (),
            executor=executor.value,
            take_over=take_over,
            trust_remote_code=trust_remote_code,
            plugins=files,
            report=say,
        )
    except SweepInterruptedError as error:
        say("stopped; every probe that was finished is kept. The same command goes on with the rest")
        raise typer.Exit(128 + error.signal_number) from None
    except RunStoppedError as error:
        say(f"unlearn-sweep: {error}\nstopped; every probe that was finished is kept")
        raise typer.Exit(1) from None
    _show(ledger, summary, choice, as_json=as_json)


def _number(frontier: str | None) -> int | None:
    """Return the number of points that ``--frontier`` asks for; None: all.

    Raises:
        SweepError: it is no number above 0.
    """
    if frontier is None or frontier == ALL:
        return None
    if not frontier.isdecimal() or int(frontier) < 1:
        raise SweepError(f"--frontier {frontier}: give how many points of each frontier to take, 1 or more, or nothing")
    return int(frontier)


def _show(ledger: "Ledger", summary: "ProbeSummary", choice: "Choice", *, as_json: bool) -> None:
    """Print what was done, and what the probes have found on the points that were chosen.

    Raises:
        typer.Exit: a probe failed.
    """
    from orchestrator.frontier import frontiers, probed_sets
    from orchestrator.points import names_of_points

    found = probed_sets(ledger, choice.forget_set, only=summary.points)
    if as_json:
        print_json({**asdict(summary), "found": [own.as_json() for own in found]})
    else:
        from orchestrator.cli.console import out
        from orchestrator.cli.probe_tables import probe_tables

        lead = "nothing left to do" if not summary.done and not summary.failed else f"done: {summary.done} probes"
        show(f"{lead}; {summary.done_before} had been done before")
        out().print(probe_tables(found, names_of_points(frontiers(ledger, choice.forget_set))))
        show(f'query it: {command("query", summary.uri)} "from probes"')
    for line in summary.without:
        say(f"nothing to try: {line}")
    if summary.failed:
        listed = "\n".join(f"  {line}" for line in summary.failed)
        say(
            f"unlearn-sweep: {len(summary.failed)} failed:\n{listed}\nthe whole of it: "
            f"{command('logs', summary.uri, '--trial', PROBING)}\nthe same command tries them again"
        )
        raise typer.Exit(1)
    require_whole(ledger)
