"""The date that a sweep's chat template is told: fixed when the sweep is made, and kept in its ledger."""

from collections.abc import Callable
from datetime import date, datetime

from orchestrator.ledger import Ledger
from orchestrator.spec import SweepSpec, stored_spec
from trainables.chat import asks_for_the_date
from trainables.tokenization import load_tokenizer


def fix_chat_date(spec: SweepSpec, ledger: Ledger, *, today: Callable[[], date] = date.today) -> SweepSpec:
    """Return the spec with the date that its chat template is told.

    That is the date of the spec, or of the sweep that is there already, or today. A template that writes no date gets
    none, and neither does a sweep that was made before its date was kept: see ``day_of_creation``.

    Raises:
        SweepError: the stored spec cannot be read.
        UnlearningError: the tokenizer cannot be loaded.
    """
    if not spec.model.chat_template or spec.model.chat_date is not None:
        return spec
    if ledger.spec_text() is not None:
        day = stored_spec(ledger).model.chat_date
    else:
        day = today() if asks_for_the_date(load_tokenizer(spec.model)) else None
    return spec.model_copy(update={"model": spec.model.model_copy(update={"chat_date": day})})


def day_of_creation(ledger: Ledger) -> date | None:
    """Return the day on which a sweep was made, by this machine's calendar; None: there is no sweep, or it is not said.

    It is what a chat template is told in a sweep whose spec keeps no date.
    """
    started = ledger.manifest().get("started_at") if ledger.spec_text() is not None else None
    return datetime.fromisoformat(started).astimezone().date() if isinstance(started, str) else None
