"""The command that decides the paper's findings on a user's own sweeps: claims."""

from typing import Annotated

import typer

from orchestrator.cli.console import out, print_json, require_whole
from orchestrator.cli.options import JsonOption, StorageOption
from orchestrator.ledger import DEFAULT_STORAGE, open_sweep


def claims(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SWEEP...",
            help="Sweeps: names in the storage, or their own folders or URIs. Those that differ in seeds or models "
            "alone are pooled; others are judged apart, and compared.",
        ),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Decide the paper's findings on your own model and data: each is supported, contradicted or not decided, with an
    interval over replicates. Survival curves and mixed models beside them are of the extra 'claims'."""
    from orchestrator.claims import claims_of

    ledgers = [open_sweep(sweep, storage) for sweep in sweeps or ()]
    found = claims_of(ledgers)
    if as_json:
        skipped = sorted(f"{ledger.storage.uri}/{path}" for ledger in ledgers for path in ledger.skipped)
        print_json({"pools": [own.as_json() for own in found], "skipped_files": skipped})
    else:
        from orchestrator.cli.claim_tables import claim_tables

        out().print(claim_tables(found))
    require_whole(*ledgers)
