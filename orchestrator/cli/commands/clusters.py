"""The commands ``unlearn-sweep cluster ...``: make and check a file for ``ray up``."""

import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import show
from orchestrator.errors import SweepError
from orchestrator.safe_text import command

cluster_app = typer.Typer(help="Make and check a file for `ray up`.", no_args_is_help=True)


@cluster_app.command()
def render(
    provider: Annotated[
        str, typer.Option(metavar="aws|gcp|local", help="Who provides the machines; local: you do.")
    ] = "aws",
    hosts: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD,WORKER,...", help="Provider local: names or addresses of the machines, the head's first."
        ),
    ] = None,
    user: Annotated[str | None, typer.Option(help="The user to log in as by SSH.")] = None,
    ssh_key: Annotated[Path | None, typer.Option(help="A private key file to log in with.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="The most machines beside the head.")] = None,
    storage: Annotated[str | None, typer.Option(help="The URI that holds the sweeps: s3://BUCKET/sweeps.")] = None,
    project: Annotated[str | None, typer.Option(help="Provider gcp: the id of the project.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of to standard output.")] = None,
) -> None:
    """Make a cluster file from the shipped cluster.yaml, for another provider or with other settings."""
    from orchestrator.cluster import SHIPPED, dump_cluster, load_cluster, render_cluster, up_command

    if out is not None and out.resolve() == SHIPPED.resolve():
        raise SweepError(f"--out {out}: other cluster files are made from this one, so it is kept; give another name")
    config = render_cluster(
        load_cluster(SHIPPED),
        provider=provider,
        folder=SHIPPED.parent,
        storage=storage,
        workers=workers,
        hosts=[host.strip() for host in hosts.split(",") if host.strip()] if hosts else [],
        user=user,
        ssh_key=str(ssh_key) if ssh_key is not None else None,
        project=project,
    )
    text = dump_cluster(config, f"unlearn-sweep {shlex.join(sys.argv[1:])}")
    if out is None:
        show(text, end="")
        return
    out.write_text(text, encoding="utf-8")
    show(f"{out}: check it with: {command('cluster', 'check', str(out))}\nstart it with: {up_command(config, out)}")


@cluster_app.command()
def check(file: Annotated[Path, typer.Argument(help="A cluster file.")]) -> None:
    """Check a cluster file before any machine is started: Ray's schema, the token, open ports, storage, workers."""
    from orchestrator.cluster import check_cluster, load_cluster, up_command

    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)  # else it logs which defaults it fills in
    config = load_cluster(file)
    check_cluster(config, where=str(file), folder=Path.cwd())
    show(
        f"{file}: ready: {config['provider']['type']}, at most {config['max_workers']} workers, "
        f"sweeps in {config['metadata']['storage']}\nstart it: {up_command(config, file)}"
    )
