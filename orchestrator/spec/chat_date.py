"""The date that a sweep's chat template is given: fixed when the sweep is made, and kept in its ledger."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from orchestrator.ledger import Ledger
from orchestrator.spec.loading import stored_spec
from orchestrator.spec.sweep_spec import SweepSpec
from trainables.deferred import Deferred
from trainables.encoding import asks_for_the_date

_load_tokenizer: Callable[[Any], Any] = Deferred("trainables.encoding", "load_tokenizer")


def keep_chat_date(spec: SweepSpec, ledger: Ledger) -> SweepSpec:
    """Return the spec with the date that an existing sweep keeps, if there is one and the spec gives none.

    A sweep of a version that kept no date has none: see ``day_of_creation``.

    Raises:
        SweepError: the stored spec cannot be read.
    """
    if not _is_open(spec) or ledger.manifest.spec_text() is None:
        return spec
    return dated(spec, stored_spec(ledger).model.chat_date)


def fix_chat_date(spec: SweepSpec, *, today: Callable[[], date] = date.today) -> SweepSpec:
    """Return the spec of a new sweep with the date that its chat template is given: the spec's, or today.

    A template that writes no date gets none.

    Raises:
        UnlearningError: the tokenizer cannot be loaded.
    """
    if not _is_open(spec) or not asks_for_the_date(_load_tokenizer(spec.model)):
        return spec
    return dated(spec, today())


def _is_open(spec: SweepSpec) -> bool:
    return spec.model.chat_template and spec.model.chat_date is None


def dated(spec: SweepSpec, chat_date: date | None) -> SweepSpec:
    """Return the spec with this date for its chat template, unless the spec gives one."""
    if chat_date is None or spec.model.chat_date is not None:
        return spec
    return spec.model_copy(update={"model": spec.model.model_copy(update={"chat_date": chat_date})})


def day_of_creation(ledger: Ledger) -> date | None:
    """Return the day on which a sweep was made, by this machine's calendar; None: there is no sweep, or no record of
    it.

    A chat template is given this date in a sweep whose spec keeps none.
    """
    started = ledger.manifest.read().get("started_at") if ledger.manifest.spec_text() is not None else None
    return datetime.fromisoformat(started).astimezone().date() if isinstance(started, str) else None
