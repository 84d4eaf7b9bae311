"""The command ``unlearn-sweep``: which commands it has. Heavy modules are imported by the command that needs them."""

import typer

from orchestrator.cli.commands import (
    claiming,
    clusters,
    exporting,
    jobs,
    monitoring,
    planning,
    probing,
    results,
    running,
    specs,
)
from orchestrator.cli.console import print_whatever_the_locale
from orchestrator.cli.exit_codes import run_to_exit_code, show_our_warnings

app = typer.Typer(
    name="unlearn-sweep",
    help="Map what it costs to unlearn data from a language model with gradient ascent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for function in (
    planning.plan,
    running.run,
    running.resume,
    results.query,
    results.frontier,
    results.merge,
    claiming.claims,
    monitoring.track,
    results.report,
    exporting.export,
    specs.spec,
    monitoring.status,
    jobs.stop,
    planning.doctor,
    jobs.submit,
    jobs.logs,
):
    app.command()(function)
app.command(cls=probing.ProbeCommand)(probing.probe)
app.add_typer(clusters.cluster_app, name="cluster")


def main() -> None:
    """Run the command. A user's mistake prints one message and exits with code 2."""
    print_whatever_the_locale()
    show_our_warnings()
    run_to_exit_code(app)
