"""Arguments and options that several commands have."""

from typing import Annotated

import typer

from orchestrator.run import ExecutorName

SpecArgument = Annotated[
    str | None, typer.Argument(help="A spec (YAML file), or the name of a shipped one; none: the demo.")
]
SweepArgument = Annotated[str, typer.Argument(help="A sweep's name under the storage, or its own folder or URI.")]
StorageOption = Annotated[str, typer.Option(help="Folder or URI that holds sweeps.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a setting; repeatable.")
]
NameOption = Annotated[str | None, typer.Option(help="Name of the sweep, in place of the spec's.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Trials at once; none: as many as fit.")]
ExecutorOption = Annotated[
    ExecutorName,
    typer.Option(
        help="What does the work. 'ray': Ray, on this machine or on the cluster that RAY_ADDRESS names. 'inline': this "
        "process, one trial after another, without Ray: to debug (breakpoints work), for tiny sweeps and fast tests. "
        "The numbers are the same.",
    ),
]
RetryFailedOption = Annotated[
    bool, typer.Option("--retry-failed", help="Run failed trials again, from their checkpoints.")
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Go on although settings, data, models or code have changed, or the base model has memorized nothing.",
    ),
]
TakeOverOption = Annotated[
    bool, typer.Option("--take-over", help="Go on although another process, not known to be dead, drives the sweep.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AddressOption = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        help="Dashboard of the cluster, http://HOST:8265; 'ray dashboard cluster.yaml' makes it http://127.0.0.1:8265.",
    ),
]
ElsewhereOption = Annotated[
    str | None, typer.Option("--address", help="Ask a cluster, by its dashboard, http://HOST:8265; none: only here.")
]
RetriesOption = Annotated[int, typer.Option(min=0, help="How often the driver is started again when it is killed.")]
EnvironmentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME[=VALUE]",
        help="Give the driver and all workers a variable; repeatable. Ray logs its value there, and shows it on its "
        "dashboard: keys are the machines' own (a role, ~/.aws, ~/.bashrc).",
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that comes with the model, with all of your rights."),
]
