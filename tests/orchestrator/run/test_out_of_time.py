"""A run whose budget of wall time is spent: its trials stop in good order, and that is no failure."""

import pytest
from ray.tune.search import Searcher

from orchestrator.driver import Interrupt
from orchestrator.errors import BudgetSpentError, SweepInterruptedError
from orchestrator.ledger import TrialWriter
from orchestrator.run.failures import Failures
from orchestrator.run.runner import _raise_if_stopped
from orchestrator.run.tuning import _Ending, _Exchange
from tests.orchestrator.helpers import make_search, make_spec, memory_ledger, outcome
from tests.support import FakeClock
from trainables.records import Status
from trainables.tune import OUTCOME


class Events:
    def trial_ended(self, *, status):
        self.status = status


class HeldLease:
    asked = 0

    def stop_trials(self):
        self.asked += 1


def test_running_trials_are_asked_to_stop_once_and_the_run_ends_when_they_have():
    clock, lease, interrupt, events = FakeClock(), HeldLease(), Interrupt(), Events()
    ledger = memory_ledger()
    spec = make_spec(search={"trials": None, "budget": {"max_wall": "1h"}})
    search = make_search(spec, ledger, clock=clock)
    exchange = _Exchange(search, Failures(ledger), events, interrupt, lease)
    ending = _Ending(exchange, spec.resources)
    assert isinstance(exchange.suggest("first"), dict)
    assert not ending.stop_all()
    assert (lease.asked, interrupt.reason) == (0, None)

    clock.now += 3600
    assert not ending.stop_all(), "they have their grace period"
    assert not ending.stop_all()
    assert lease.asked == 1
    assert isinstance(interrupt.reason, BudgetSpentError)
    assert exchange.suggest("second") is None, "one still runs"
    (trial_id,) = exchange.running
    TrialWriter(ledger).publish(trial_id, [], [], outcome(Status.STOPPED, last_step=0))
    exchange.ended("first", {OUTCOME: "stopped"})
    assert events.status == "stopped"
    assert exchange.suggest("second") == Searcher.FINISHED
    _raise_if_stopped(interrupt)


def test_a_signal_still_stops_a_run():
    interrupt = Interrupt()
    interrupt.stop(SweepInterruptedError(15))
    with pytest.raises(SweepInterruptedError):
        _raise_if_stopped(interrupt)
