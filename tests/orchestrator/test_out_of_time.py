"""A run whose budget of wall time is spent: its trials stop in good order, and that is no failure."""

from datetime import UTC, datetime, timedelta

import pytest
from ray.tune.search import Searcher

from orchestrator.errors import BudgetSpentError, SweepInterruptedError
from orchestrator.interrupt import Interrupt
from orchestrator.ledger import Ledger
from orchestrator.runner import _raise_if_stopped
from orchestrator.tuning import _Ending, _Exchange
from tests.orchestrator.helpers import make_search, make_spec, memory_ledger, outcome
from trainables.records import Status
from trainables.tune_results import OUTCOME


class Clock:
    time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.time


class Events:
    def trial_ended(self, *, status):
        self.status = status


class HeldLease:
    asked = 0

    def stop_trials(self):
        self.asked += 1


def test_running_trials_are_asked_to_stop_once_and_the_run_ends_when_they_have():
    clock, lease, interrupt, events = Clock(), HeldLease(), Interrupt(), Events()
    ledger = Ledger(storage=memory_ledger().storage, sweep="tiny", now=clock)
    spec = make_spec(search={"trials": None, "budget": {"max_wall": "1h"}})
    search = make_search(spec, ledger)
    exchange = _Exchange(search, events, interrupt, lease)
    ending = _Ending(exchange, spec.resources)
    assert isinstance(exchange.suggest("first"), dict)
    assert not ending.stop_all()
    assert (lease.asked, interrupt.reason) == (0, None)

    clock.time += timedelta(hours=1)
    assert not ending.stop_all(), "they have their grace period"
    assert not ending.stop_all()
    assert lease.asked == 1
    assert isinstance(interrupt.reason, BudgetSpentError)
    assert exchange.suggest("second") is None, "one still runs"
    (trial_id,) = exchange.running
    ledger.publish(trial_id, [], [], outcome(Status.STOPPED, last_step=0))
    exchange.ended("first", {OUTCOME: "stopped"})
    assert events.status == "stopped"
    assert exchange.suggest("second") == Searcher.FINISHED
    _raise_if_stopped(interrupt)


def test_a_signal_still_stops_a_run():
    interrupt = Interrupt()
    interrupt.stop(SweepInterruptedError(15))
    with pytest.raises(SweepInterruptedError):
        _raise_if_stopped(interrupt)
