"""The command that exports the model of one evaluated step of a sweep: export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.console import out, print_json, require_whole, say
from orchestrator.cli.options import JsonOption, PluginOption, StorageOption, SweepArgument, TrustOption
from orchestrator.cli.terminal import PlainTable as Table
from orchestrator.errors import SweepError
from orchestrator.ledger import DEFAULT_STORAGE, open_sweep
from orchestrator.safe_text import command
from trainables.plugins import load_plugins

if TYPE_CHECKING:
    from orchestrator.export import Export
    from orchestrator.ledger import Ledger
    from orchestrator.points import EvaluatedStep


def export(
    sweep: SweepArgument,
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write the model to; it must be new.")],
    trial: Annotated[str | None, typer.Option(help="A trial's id, or the beginning of it.")] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="A step at which the trial was evaluated; 0 is the base model.")
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(
            metavar='"exposure<=2"',
            help="Instead of --trial and --step: take the evaluation with the best performance within these bounds "
            "(on exposure, performance or any number of an evaluation, separated by commas); if only performance is "
            "bounded, the least exposed one.",
        ),
    ] = None,
    forget_set: Annotated[str | None, typer.Option(help="With --best: take only this forget set.")] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="How far, relatively, a metric of the exported model may be from the ledger's. Default: 0.001."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload the model to the Hugging Face hub afterwards.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: let everyone read it.")] = False,
    plugins: PluginOption = None,
    trust_remote_code: TrustOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Write the model of an evaluated step as a Hugging Face folder, and verify that it has the ledger's numbers."""
    from orchestrator.export import require_free

    files = load_plugins(plugins or ())
    ledger = open_sweep(sweep, storage)
    evaluated = _chosen_step(ledger, trial, step, best, forget_set)
    to = to.resolve()
    require_free(to, overwrite=overwrite)
    if push is not None:
        from orchestrator.export import require_hub

        require_hub(push)
    elif public:
        raise SweepError("--public: there is nothing to publish without --push; give --push OWNER/NAME too")

    from transformers.utils import logging

    from orchestrator.export import DEFAULT_TOLERANCE, export_step

    logging.disable_progress_bar()
    name = f"sweep '{ledger.sweep}', trial {evaluated.trial_id}, step {evaluated.step}"
    say(f"{name}: forget set '{evaluated.trial['forget_set']}'")
    exported = export_step(
        ledger,
        evaluated,
        to,
        overwrite=overwrite,
        tolerance=DEFAULT_TOLERANCE if tolerance is None else tolerance,
        trust_remote_code=trust_remote_code,
        plugins=files,
        report=lambda doing: say(f"{doing} ..."),
    )
    if not as_json:
        _show(exported, chosen=evaluated.chosen_by is not None)
    url = None
    if push is not None:
        from orchestrator.export import push_folder

        url = push_folder(to, push, public=public, message=f"Export {name}")
        say(f"pushed: {url}")
    if as_json:
        print_json(_summary(exported, url))
    if best is not None:  # a better point may be in a file that was left out
        require_whole(ledger)


def _chosen_step(
    ledger: "Ledger", trial: str | None, step: int | None, best: str | None, forget_set: str | None
) -> "EvaluatedStep":
    """Return the evaluated step that the options name."""
    from orchestrator.points import best_step, find_step, parse_conditions

    if best is not None and trial is None and step is None:
        return best_step(ledger, parse_conditions(best), forget_set)
    if best is None and trial is not None and step is not None:
        if forget_set is not None:
            raise SweepError("--forget-set: belongs to --best; a trial has one forget set")
        return find_step(ledger, trial, step)
    raise SweepError(
        f"export: name an evaluated step: --trial T --step S "
        f'({command("frontier", ledger.storage.uri)} lists the best), or --best "exposure<=2"'
    )


def _show(exported: "Export", *, chosen: bool) -> None:
    """Print the verification and where the model is."""
    from orchestrator.frontier import CHOSEN_NOTE
    from orchestrator.points import metric_text

    table = Table("metric", "ledger", "exported model", "difference")
    for name, found in exported.verification.metrics.items():
        table.add_row(name, metric_text(found.recorded), metric_text(found.measured), f"{found.difference:.2g}")
    console = out()
    console.print(table)
    console.print(f"verified: {exported.verification}", soft_wrap=True, highlight=False)
    if chosen:
        console.print(CHOSEN_NOTE, highlight=False)
    console.print(f"model: {exported.folder}", soft_wrap=True, highlight=False)


def _summary(exported: "Export", url: str | None) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    facts = exported.provenance
    names = ("sweep", "trial_id", "step", "seed", "from_step", "verification", "files")
    return {
        "folder": str(exported.folder),
        **{name: facts[name] for name in names},
        "forget_set": facts["forget_set"]["name"],
        "model": facts["model"]["class"],
        "chosen_by": facts.get("chosen_by"),
        "chosen": facts.get("chosen"),
        "pushed": url,
    }
