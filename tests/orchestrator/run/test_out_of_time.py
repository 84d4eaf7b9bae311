"""A run whose budget of wall time is spent: its trials stop in good order, and that is no failure."""

import pytest

from orchestrator.driver import Interrupt
from orchestrator.errors import BudgetSpentError, RunStoppedError, SweepInterruptedError
from orchestrator.ledger import TrialWriter
from orchestrator.run.failures import Failures
from orchestrator.run.session import raise_if_stopped
from orchestrator.run.trial_loop import TrialLoop
from tests.orchestrator.helpers import make_search, make_spec, memory_ledger, outcome
from tests.support import FakeClock
from trainables.records import Status
from trainables.trial import OUTCOME


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
    loop = TrialLoop(search, Failures(ledger), events, interrupt, lease, resources=spec.resources, clock=clock)
    running = loop.next_trial()
    assert not loop.must_end()
    assert (lease.asked, interrupt.reason) == (0, None)

    clock.now += 3600
    assert not loop.must_end(), "they have their grace period"
    assert not loop.must_end()
    assert lease.asked == 1
    assert isinstance(interrupt.reason, BudgetSpentError)
    assert (loop.next_trial(), loop.is_over) == (None, False), "one still runs"
    TrialWriter(ledger).publish(running.trial.trial_id, [], [], outcome(Status.STOPPED, last_step=0))
    loop.ended(running, {OUTCOME: "stopped"})
    assert events.status == "stopped"
    assert (loop.next_trial(), loop.is_over) == (None, True)
    raise_if_stopped(interrupt)


def test_trials_that_do_not_stop_within_their_grace_period_or_say_nothing_are_left():
    for late, interrupted in ((60.5, True), (3600.5, False)):
        clock, lease, interrupt = FakeClock(), HeldLease(), Interrupt()
        ledger = memory_ledger()
        loop = TrialLoop(
            make_search(make_spec(), ledger),
            Failures(ledger),
            Events(),
            interrupt,
            lease,
            resources=make_spec().resources,
            clock=clock,
        )
        assignment = loop.next_trial()
        if interrupted:
            interrupt.stop(SweepInterruptedError(15))
        assert not loop.must_end()
        clock.now += late
        assert loop.must_end()
        if not interrupted:
            assert isinstance(interrupt.reason, RunStoppedError)
            assert f"from the running trials {assignment.trial.trial_id}" in str(interrupt.reason)


def test_a_signal_still_stops_a_run():
    interrupt = Interrupt()
    interrupt.stop(SweepInterruptedError(15))
    with pytest.raises(SweepInterruptedError):
        raise_if_stopped(interrupt)
