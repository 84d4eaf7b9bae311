"""The commands that show the progress of sweeps: status, track."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.commands.jobs import connect
from orchestrator.cli.console import left_out, print_json, require_whole, say, show, show_folded
from orchestrator.cli.options import ElsewhereOption, JsonOption, StorageOption, SweepArgument
from orchestrator.errors import StorageError, SweepError
from orchestrator.ledger import DEFAULT_STORAGE, open_sweep, sweeps_in

if TYPE_CHECKING:
    from orchestrator.cluster import Job

TRACK_EVERY_S = 5.0
"""Seconds between two looks at a sweep that is followed."""


def status(
    sweep: Annotated[
        str | None,
        typer.Argument(help="A sweep: its name in the storage, or its own folder or URI. Without it: all sweeps."),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    address: ElsewhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the progress of a sweep, from its ledger; with --address, of its job too. Without a sweep, show all."""
    jobs: list[Job] = connect(address).list() if address is not None else []
    if sweep is not None:
        found = [_status_of(sweep, storage, jobs)]
    else:
        places = dict.fromkeys([*sweeps_in(storage), *(job.uri for job in jobs)])
        found = [_status_at(place, jobs) for place in places]
    _show_status(found, one=sweep is not None, as_json=as_json)
    if not found and not as_json:
        show(f"no sweep in {storage}{f', and no job at {address}' if address is not None else ''}")
    skipped = sum(len(one.get("skipped_files", ())) for one in found)
    if skipped:
        say(f"unlearn-sweep: {left_out(skipped)}")
        raise typer.Exit(1)


def _show_status(found: list[dict[str, Any]], *, one: bool, as_json: bool) -> None:
    """Print what is known of some sweeps; of ``one``, JSON is an object instead of a list."""
    from orchestrator.monitor import status_text

    if as_json:
        print_json(found[0] if one else found)
        return
    for index, entry in enumerate(found):
        progress, _, rest = status_text(entry).partition("\n")
        show("", end="\n" if index else "")
        show_folded(progress, indent="  ")
        show(rest)
        if entry["job"] is not None:
            job = entry["job"]
            show(f"job {job['job_id']}: {job['status']}, submitted {job['submitted_at']}")


def _status_of(sweep: str, storage: str, jobs: "Sequence[Job]") -> dict[str, Any]:
    """Return the status of one sweep, or only its newest job where its folder cannot be seen from here.

    Raises:
        SweepError, StorageError: there is neither a sweep nor a job.
    """
    from orchestrator.monitor import sweep_status

    try:
        one = sweep_status(open_sweep(sweep, storage))
    except (SweepError, StorageError):
        named = [job for job in jobs if sweep.rstrip("/") in (job.uri, job.sweep, job.job_id)]
        if not named:
            raise
        return {"sweep": named[0].sweep, "uri": named[0].uri, "job": asdict(named[0])}
    return {**one, "job": _newest(one["uri"], jobs)}


def _status_at(uri: str, jobs: "Sequence[Job]") -> dict[str, Any]:
    """Return the status of the sweep at a place, or why it cannot be read."""
    from orchestrator.monitor import sweep_status

    try:
        one = sweep_status(open_sweep(uri))
    except (SweepError, StorageError) as error:
        one = {"sweep": uri.rpartition("/")[2], "uri": uri, "error": str(error)}
    return {**one, "job": _newest(uri, jobs)}


def _newest(uri: str, jobs: "Sequence[Job]") -> dict[str, Any] | None:
    """Return the newest job of the sweep at a place; None if it has none."""
    return next((asdict(job) for job in jobs if job.uri == uri), None)


def track(
    sweep: SweepArgument,
    tensorboard: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Write event files here; see them with: tensorboard --logdir FOLDER"),
    ] = None,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Write to Weights & Biases; WANDB_MODE=offline is respected.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Write to MLflow: sqlite:///mlflow.db, or a server.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep going until no driver runs the sweep; Ctrl-C ends it.")
    ] = False,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show a sweep's trials in TensorBoard, Weights & Biases, MLflow, or several of them: one run for each trial."""
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
    written += tracking.update()  # once more after the driver has ended, for what it wrote last
    for tracker in trackers:
        show(f"{written} evaluations {tracker.where}")
    require_whole(ledger)
