"""The commands that show how sweeps come along: status, track."""

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
        str | None, typer.Argument(help="A sweep's name under the storage, or its own folder or URI; none: all.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    address: ElsewhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far a sweep has come, from its ledger; with --address, also its job. Without a sweep: all there are."""
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
    """Tell of one sweep; of one whose folder is not seen from here, its newest job alone.

    Raises:
        SweepError, StorageError: there is neither.
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
    """Tell of the sweep at a place; where it cannot be read, say why."""
    from orchestrator.monitor import sweep_status

    try:
        one = sweep_status(open_sweep(uri))
    except (SweepError, StorageError) as error:
        one = {"sweep": uri.rpartition("/")[2], "uri": uri, "error": str(error)}
    return {**one, "job": _newest(uri, jobs)}


def _newest(uri: str, jobs: "Sequence[Job]") -> dict[str, Any] | None:
    return next((asdict(job) for job in jobs if job.uri == uri), None)


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
