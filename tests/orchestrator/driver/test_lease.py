"""One driver a sweep: exactly one of many proceeds, the others learn who, a dead one is followed, a lost one stops."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.driver import Interrupt, Watch, current_driver, driven_s, is_driven, is_stopping, lease, request_stop
from orchestrator.driver.fencing import LeaseLostError
from orchestrator.errors import LedgerWarning, RunStoppedError, SweepError, SweepGoneError, SweepInterruptedError
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter, repair_ledger
from orchestrator.storage import LocalStorage
from orchestrator.storage.object_store import ObjectStorage
from tests.limits import HANG_S
from tests.orchestrator.helpers import PROPOSAL, evaluation_record, example_record, make_trial, outcome
from tests.support import FakeClock

START = datetime(2026, 1, 1, tzinfo=UTC)

HOLD = """
import sys
from pathlib import Path
from orchestrator.driver.interrupt import Interrupt
from orchestrator.driver.leases import lease
from orchestrator.storage import LocalStorage
with lease(LocalStorage(Path(sys.argv[1])), "tiny", Interrupt()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "tiny")


@pytest.fixture
def holder(storage):
    """A process that drives the sweep until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, storage.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def now():
    return datetime.now(UTC)


def hold(storage, **options):
    return lease(storage, "tiny", Interrupt(), **options)


def written(storage):
    path = list(storage.files("drivers", ".json"))[-1]
    return path, json.loads(storage.read(path))


def rewrite(storage, **changes):
    path, content = written(storage)
    storage.publish(path, json.dumps({**content, **changes}).encode())


def test_a_second_driver_is_told_who_the_first_is_and_how_to_take_over(storage, holder):
    with pytest.raises(SweepError) as caught, hold(storage):
        pass
    message = str(caught.value)
    driver = current_driver(storage)
    assert driver.pid == holder.pid
    for part in (f"process {holder.pid}", f"host {driver.host}", f"since {driver.since}", "--take-over"):
        assert part in message


def test_a_driver_that_ended_is_followed(storage):
    with hold(storage) as first:
        assert current_driver(storage).drives()
    assert not current_driver(storage).drives()
    with hold(storage) as second:
        assert second.number == first.number + 1
        assert written(storage)[1]["pid"] == os.getpid()


def test_a_driver_that_was_killed_is_followed(storage, holder):
    holder.kill()
    holder.wait()
    assert not current_driver(storage).drives()
    with hold(storage):
        assert current_driver(storage).pid == os.getpid()


def test_a_process_number_that_another_process_got_since_is_a_dead_driver(storage):
    with hold(storage):
        rewrite(storage, process_started=written(storage)[1]["process_started"] - 3600)
        assert not current_driver(storage).drives()


def test_a_driver_on_another_machine_that_shows_life_is_left_alone(storage):
    """It renews its file while one looks."""
    with lease(storage, "tiny", Interrupt(), renew_every_s=0.01) as held:
        held._driver = replace(held._driver, machine="elsewhere", host="elsewhere")
        held.renew()
        with (
            pytest.warns(LedgerWarning, match="elsewhere lives"),
            pytest.raises(SweepError, match="host elsewhere"),
            hold(storage, watch_s=HANG_S),
        ):
            pass


def test_a_driver_on_another_machine_that_is_silent_while_one_looks_is_followed(storage):
    with hold(storage) as held:
        rewrite(storage, machine="elsewhere", host="elsewhere")
        with (
            pytest.warns(LedgerWarning, match="whether the driver on elsewhere lives"),
            hold(storage, watch_s=0.01) as own,
        ):
            assert own.number == held.number + 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_driver_whose_clock_is_off_is_watched_as_any_other(storage, hours):
    """Nor does it matter that its clock stands still: it shows life by the time that it has driven."""
    moment = now() + timedelta(hours=hours)
    with lease(storage, "tiny", Interrupt(), renew_every_s=0.01, now=lambda: moment) as held:
        held._driver = replace(held._driver, machine="elsewhere", host="elsewhere")
        held.renew()
        assert is_driven(storage)
        with (
            pytest.warns(LedgerWarning, match="elsewhere lives"),
            pytest.raises(SweepError, match="host elsewhere"),
            hold(storage, watch_s=HANG_S),
        ):
            pass


def test_a_watch_goes_by_its_own_clock_alone(storage):
    clock = FakeClock()
    with hold(storage) as held:
        rewrite(storage, machine="elsewhere", renewed_at="2000-01-01T00:00:00+00:00")
        watch = Watch(storage, silence_s=60, clock=clock)
        clock.now += 59
        assert watch.look()[0] == held.number, "it has only just begun to look"
        clock.now += 59
        assert watch.look()[1].host == current_driver(storage).host
        rewrite(storage, driven_s=1000.0)
        clock.now += 59
        assert watch.look() is not None, "a sign of life"
        clock.now += 60
        assert watch.look() is None
        rewrite(storage, driven_s=1010.0)
        assert watch.look() is not None, "it was only slow"
        rewrite(storage, ended_at="2000-01-01T00:00:00+00:00")
        assert watch.look() is None


def test_a_dead_driver_on_another_machine_is_not_waited_for_once_it_was_silent(storage):
    with hold(storage):
        rewrite(storage, machine="elsewhere")
        assert request_stop(storage, limit_s=HANG_S, silence_s=0.01) is None


def test_how_long_a_sweep_was_driven_is_measured_by_a_clock_that_only_grows(storage):
    moments, clock = itertools.count(0, -3600), FakeClock()
    with hold(storage, now=lambda: START + timedelta(seconds=next(moments)), clock=clock) as held:
        clock.now += 100
        held.renew()
        assert driven_s(storage, before=None) == 100
        clock.now += 50
    assert driven_s(storage, before=None) == 150
    for older in ({"driven_s": None}, {"driven_s": -1}, {"driven_s": float("nan")}, {"driven_s": "long"}):
        rewrite(storage, **older)
        assert driven_s(storage, before=None) == 0, "the machine's clock was set back"


def test_a_driver_file_of_an_older_version_is_read(storage):
    with hold(storage):
        pass
    path, content = written(storage)
    del content["driven_s"]
    content |= {"since": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:01:40+00:00"}
    storage.publish(path, json.dumps(content).encode())
    assert driven_s(storage, before=None) == 100
    with hold(storage):
        pass


@pytest.fixture(params=["local", "memory"])
def removable(request, tmp_path):
    """A storage, what removes a sweep's folder there, and what lists what is left of it."""
    if request.param == "local":
        folder = tmp_path / "tiny"
        return LocalStorage(folder), lambda: shutil.rmtree(folder), lambda: list(tmp_path.rglob("*"))
    storage = ObjectStorage(f"memory://{uuid.uuid4().hex}/tiny")
    files, root = storage._filesystem, storage._root
    return storage, lambda: files.rm(root, recursive=True), lambda: files.find(root)


def test_a_sweep_that_is_removed_stops_its_driver_and_does_not_come_back(removable):
    storage, remove, left = removable
    interrupt = Interrupt()
    with lease(storage, "tiny", interrupt, renew_every_s=0.01):
        remove()
        pause = threading.Event()
        while interrupt.reason is None:
            pause.wait(0.01)  # a poll of the other thread
    assert isinstance(interrupt.reason, SweepGoneError)
    assert re.search("sees no drivers/000001.json.*removed or moved.*writes nothing more", str(interrupt.reason))
    assert left() == []


def test_a_sweep_that_is_removed_just_before_its_driver_ends_does_not_come_back(removable):
    storage, remove, left = removable
    with hold(storage) as held:
        remove()
        with pytest.raises(SweepGoneError):
            held.stop_trials()
    assert left() == []


def test_nothing_is_written_to_a_sweep_that_is_gone(removable):
    storage, remove, left = removable
    with hold(storage) as held:
        ledger = Ledger(storage=storage, sweep="tiny", driver=held.number)
        trial = make_trial()
        DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
        TrialWriter(ledger).publish(trial.trial_id, [evaluation_record()], [example_record()], None)
        remove()
        for write in (
            lambda: DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL),
            lambda: DriverWriter(ledger).propose_again(trial, PROPOSAL),
            lambda: TrialWriter(ledger).publish(trial.trial_id, [evaluation_record()], [example_record()], None),
            lambda: TrialWriter(ledger).publish(trial.trial_id, [evaluation_record()], [example_record()], outcome()),
            lambda: DriverWriter(ledger).fail(trial.trial_id, "died"),
            lambda: ledger.trial(trial.trial_id),
            lambda: TrialWriter(ledger).save_checkpoint(trial.trial_id, b""),
            lambda: TrialWriter(ledger).discard_checkpoint(trial.trial_id),
            lambda: ledger.manifest.create("", {}, {}),
            lambda: ledger.manifest.note({}),
            lambda: DriverWriter(ledger).publish_baselines([]),
            lambda: DriverWriter(ledger).publish_forget_examples([]),
            lambda: ledger.manifest.describe("", {}),
            lambda: DriverWriter(ledger).add_to_log("preparation", ""),
            lambda: repair_ledger(ledger),
            DriverWriter(ledger).merge,
            TrialWriter(ledger).stopping,
            ledger.fenced.require_lease,
        ):
            with pytest.raises(SweepGoneError, match=r"sees no drivers/000001.json"):
                write()
    assert left() == []


def test_a_run_stops_when_a_file_is_gone_that_it_needs(storage):
    interrupt = Interrupt()
    storage.publish("spec.yaml", b"")
    with lease(storage, "tiny", interrupt, renew_every_s=0.01) as held:
        held.needs("spec.yaml")
        held.renew()
        storage.remove("spec.yaml")
        pause = threading.Event()
        while interrupt.reason is None:
            pause.wait(0.01)  # a poll of the other thread
    assert isinstance(interrupt.reason, SweepGoneError)
    assert "sees no spec.yaml" in str(interrupt.reason)
    assert written(storage)[1]["ended_at"] is not None, "the driver's own file is there"


def test_a_new_sweep_in_the_place_of_one_that_was_removed_is_left_alone(removable):
    storage, remove, _ = removable
    with hold(storage) as old:
        remove()
        with hold(storage):
            token = written(storage)[1]["token"]
            with pytest.raises(LeaseLostError):
                old.renew()
            old.end()
            assert written(storage)[1]["token"] == token
            assert is_driven(storage)


def test_a_driver_on_another_machine_is_taken_over_without_a_look(storage):
    with hold(storage):
        rewrite(storage, machine="elsewhere", host="elsewhere")
        assert current_driver(storage).drives()
        with hold(storage, take_over=True):
            assert current_driver(storage).host != "elsewhere"


def test_whoever_drives_is_asked_to_stop_through_the_storage(storage):
    interrupt = Interrupt()

    def drive():
        with lease(storage, "tiny", interrupt, renew_every_s=0.01):
            driving.set()
            while interrupt.reason is None:
                driving.wait(0.01)

    driving = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(drive)
        assert driving.wait(HANG_S)
        driving.clear()
        assert request_stop(storage, limit_s=HANG_S).pid == os.getpid()
        done.result()
    assert isinstance(interrupt.reason, SweepInterruptedError)
    assert request_stop(storage, limit_s=HANG_S) is None, "nobody drives it now"


def test_a_stop_reaches_the_driver_that_follows_a_killed_one_meanwhile(storage, monkeypatch):
    """A supervisor starts a killed driver again: the request to the first would never be read."""
    with hold(storage) as first:
        rewrite(storage, machine="elsewhere")

        def follow(_):
            monkeypatch.undo()
            follower.start()
            assert driving.wait(HANG_S)

        def drive():
            with lease(storage, "tiny", interrupt, take_over=True, renew_every_s=0.01):
                driving.set()
                while interrupt.reason is None:
                    first_look.wait(0.01)

        interrupt, driving, first_look = Interrupt(), threading.Event(), threading.Event()
        follower = threading.Thread(target=drive)
        monkeypatch.setattr("orchestrator.driver.watching.time.sleep", follow)
        stopped = request_stop(storage, limit_s=HANG_S)
        follower.join()
    assert first.stop_is_requested
    assert (stopped.pid, stopped.machine != "elsewhere") == (os.getpid(), True)
    assert isinstance(interrupt.reason, SweepInterruptedError)


def test_a_request_to_stop_is_of_one_driver_and_not_of_the_next(storage):
    with hold(storage) as first, pytest.raises(RunStoppedError, match="--take-over"):
        request_stop(storage, limit_s=0.01)
    assert first.stop_is_requested
    with hold(storage) as second:
        assert not second.stop_is_requested


def test_a_driver_that_was_killed_and_not_yet_buried_is_followed(storage, holder):
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with hold(storage):
        pass


def test_whoever_is_taken_over_stops_and_leaves_the_lease_alone(storage):
    interrupt, other = Interrupt(), Interrupt()
    with lease(storage, "tiny", interrupt, renew_every_s=0.01) as first:
        with lease(storage, "tiny", other, take_over=True) as second:
            noticed = threading.Event()
            while interrupt.reason is None:
                noticed.wait(0.01)  # a poll of the other thread
            assert isinstance(interrupt.reason, LeaseLostError)
            assert "taken over" in str(interrupt.reason)
            with pytest.raises(LeaseLostError, match="taken over"):
                is_stopping(storage, first.number)
            assert not is_stopping(storage, second.number)
        assert other.reason is None
    assert written(storage)[0] == f"drivers/{second.number:06d}.json"


def test_of_many_that_follow_a_dead_driver_exactly_one_proceeds(storage, holder):
    holder.kill()
    holder.wait()
    start = threading.Barrier(8)
    release = threading.Event()
    outcomes = []

    def follow(_):
        start.wait()
        try:
            with hold(storage):
                outcomes.append("drives")
                release.wait(timeout=HANG_S)
        except SweepError:
            outcomes.append("refused")
            if outcomes.count("refused") == 7:
                release.set()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(follow, range(8)))
    assert sorted(outcomes) == ["drives"] + ["refused"] * 7


def test_the_lease_is_renewed_while_it_is_held(storage):
    moments = iter(range(1000))
    renewed = threading.Event()

    def ticking():
        second = next(moments)
        if second > 3:
            renewed.set()
        return datetime(2026, 1, 1, 0, second // 60, second % 60, tzinfo=UTC)

    with hold(storage, renew_every_s=0.01, now=ticking):
        assert renewed.wait(timeout=HANG_S)
        driver = current_driver(storage)
        assert driver.since < driver.renewed_at


def test_trials_are_asked_to_stop_through_the_lease(storage):
    with hold(storage) as held:
        assert not is_stopping(storage, held.number)
        held.stop_trials()
        assert is_stopping(storage, held.number)


def test_a_driver_file_that_cannot_be_read_is_followed_only_by_taking_over(storage):
    storage.publish("drivers/000001.json", b"{}")
    storage.publish("drivers/notes.json", b"not ours")
    with pytest.raises(SweepError, match="driven by host unknown"), hold(storage):
        pass
    with hold(storage, take_over=True) as held:
        assert held.number == 2


def test_whoever_lost_a_sweep_can_tell_however_late(storage):
    with hold(storage) as first:
        pass
    for _ in range(2):
        with hold(storage) as last:
            pass
    first.end()  # it writes its own file only
    with pytest.raises(LeaseLostError):
        first.renew()
    last.renew()


def test_of_two_that_a_store_let_begin_the_one_that_was_overwritten_stops(storage):
    with hold(storage) as first:
        rewrite(storage, token="of another", pid=2**22 + 1)
        with pytest.raises(LeaseLostError, match=f"process {2**22 + 1}"):
            first.renew()


def test_a_ledger_of_a_lost_sweep_writes_nothing(storage):
    with hold(storage) as first:
        pass
    ledger = Ledger(storage=storage, sweep="tiny", driver=first.number)
    trial = make_trial()
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    with hold(storage):
        for write in (
            lambda: DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL),
            lambda: TrialWriter(ledger).publish(trial.trial_id, [evaluation_record()], [example_record()], None),
            lambda: DriverWriter(ledger).fail(trial.trial_id, "died"),
            lambda: TrialWriter(ledger).save_checkpoint(trial.trial_id, b""),
        ):
            with pytest.raises(LeaseLostError):
                write()
    assert storage.files("evaluations", ".parquet") == {}
    assert ledger.trial(trial.trial_id)["status"] is None
