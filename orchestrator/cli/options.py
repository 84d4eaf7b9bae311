"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.run import ExecutorName

SpecArgument = Annotated[
    str | None,
    typer.Argument(help="A spec (a YAML file), or the name of a shipped one. Without it: the demo."),
]
SweepArgument = Annotated[str, typer.Argument(help="A sweep: its name in the storage, or its own folder or URI.")]
StorageOption = Annotated[str, typer.Option(help="The folder or URI that holds the sweeps.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a setting of the spec; repeatable."),
]
NameOption = Annotated[str | None, typer.Option(help="A name for the sweep, in place of the spec's.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="How many trials run at the same time. Default: as many as fit.")
]
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
        help="Continue even if settings, data, models or code have changed, or the base model has memorized nothing.",
    ),
]
TakeOverOption = Annotated[
    bool,
    typer.Option("--take-over", help="Continue even if another process drives the sweep and is not known to be dead."),
]
ProfileOption = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Record by PyTorch's profiler what the first trial does, in profiles/ of the sweep; open the file at "
        "https://ui.perfetto.dev.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show the job's output until it ends.")]
AddressOption = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        help="The cluster's dashboard, http://HOST:8265. Default: http://127.0.0.1:8265, where "
        "'ray dashboard cluster.yaml' makes it available.",
    ),
]
ElsewhereOption = Annotated[
    str | None,
    typer.Option("--address", help="The dashboard of a cluster, http://HOST:8265. Without it, no cluster is asked."),
]
RetriesOption = Annotated[int, typer.Option(min=0, help="How often to restart the driver if it is killed.")]
EnvironmentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME[=VALUE]",
        help="Set an environment variable for the driver and all workers; repeatable. Ray logs its value there and "
        "shows it on its dashboard, so do not pass keys: let the machines have their own (a role, ~/.aws, ~/.bashrc).",
    ),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="Run this Python file, which registers objectives or metrics of your own; repeatable. It gets all of your "
        "permissions, here and on all workers. A sweep does not keep it: give it again to resume.",
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run Python code that comes with the model. It gets all of your permissions."
    ),
]
