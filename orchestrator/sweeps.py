"""Find a sweep where the user says it is."""

from orchestrator.errors import SweepError
from orchestrator.ledger import SPEC, Ledger
from orchestrator.spec import SweepSpec, parse_yaml, validate_spec
from orchestrator.storage import open_storage

DEFAULT_STORAGE = "sweeps"


def open_sweep(sweep: str, storage: str = DEFAULT_STORAGE) -> Ledger:
    """Open a sweep by its name under the storage, or by its own folder or URI.

    Raises:
        SweepError: there is no sweep there.
    """
    places = [sweep] if "/" in sweep else [f"{storage.rstrip('/')}/{sweep}", sweep]
    for place in places:
        folder = open_storage(place)
        text = folder.read(SPEC)
        if text is not None:
            return Ledger(storage=folder, sweep=validate_spec(parse_yaml(text.decode(), place), place).name)
    raise SweepError(
        f"no sweep at {' or '.join(places)}: there is no {SPEC}; "
        f"give a sweep's name, with --storage if it is not in {DEFAULT_STORAGE}/, or its own folder or URI"
    )


def stored_spec(ledger: Ledger) -> SweepSpec:
    """Read a sweep's resolved spec back."""
    where = f"{ledger.storage.uri}/{SPEC}"
    return validate_spec(parse_yaml(ledger.spec_text() or "", where), where)
