"""An S3 server that is in trouble for a while, or for ever: through a proxy before a real one."""

import threading
import warnings
from dataclasses import replace

import duckdb
import fsspec
import pytest

from orchestrator.errors import StorageError
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.storage import object_store as object_storage
from orchestrator.storage.object_store import ObjectStorage
from orchestrator.storage.retries import Retries
from tests.faults.s3_proxy import CUT, DEAF, LOST, SILENT, s3_proxy
from tests.limits import HANG_S
from tests.orchestrator.helpers import PROPOSAL, evaluation_record, example_record, make_trial, outcome
from tests.s3 import use_endpoint
from tests.support import FakeClock

SHORT = Retries(attempts=4, first_wait_s=0.01, longest_wait_s=0.05, request_s=HANG_S, limit_s=HANG_S)
"""Impatient with errors; an answer that is only late is waited for."""


@pytest.fixture(scope="module")
def running_proxy(s3_server):
    """One for all tests here, for to connect anew takes half a second; fsspec keeps filesystems by their arguments."""
    clear = fsspec.get_filesystem_class("s3").clear_instance_cache
    clear()
    with s3_proxy(s3_server) as proxy, pytest.MonkeyPatch.context() as patch:
        use_endpoint(patch, proxy.endpoint)
        yield proxy
    clear()


@pytest.fixture
def proxy(running_proxy):
    running_proxy.faults, running_proxy.always = [], None
    return running_proxy


@pytest.fixture
def storage(proxy, s3_server):
    storage = ObjectStorage(f"s3://{s3_server.new_bucket()}/sweep", SHORT)
    storage.publish("t/a", b"content")
    storage.publish("t/old", b"old")
    proxy.requests.clear()
    return storage


USES = {
    "read": (lambda storage: storage.read("t/a"), b"content"),
    "read nothing": (lambda storage: storage.read("t/none"), None),
    "list": (lambda storage: list(storage.files("t", "a")), ["t/a"]),
    "publish": (lambda storage: storage.publish("t/a", b"new") or storage.read("t/a"), b"new"),
    "create": (lambda storage: storage.create("t/new", b"x"), True),
    "create again": (lambda storage: storage.create("t/a", b"x"), False),
    "move": (
        lambda storage: storage.move("t/old", "u/old") or (storage.read("t/old"), storage.read("u/old")),
        (None, b"old"),
    ),
    "remove": (lambda storage: storage.remove("t/old") or storage.read("t/old"), None),
    "pyarrow": (lambda storage: read_by_pyarrow(storage, "t/a"), b"content"),
}


def read_by_pyarrow(storage, path):
    filesystem, root = storage.arrow()
    with filesystem.open_input_file(f"{root}/{path}") as file:
        return file.read()


@pytest.mark.parametrize(
    ("use", "fault"),
    [*((use, fault) for use in USES for fault in (500, 503, LOST)), ("read", SILENT), ("publish", SILENT)],
)
def test_passing_trouble_is_waited_out(proxy, storage, use, fault):
    ask, expected = USES[use]
    if fault == SILENT:
        storage = ObjectStorage(storage.uri, replace(SHORT, attempts=100, request_s=1.0))
    proxy.faults = [fault] if fault == SILENT else [fault] * 3
    assert ask(storage) == expected
    assert proxy.faults == []


ASKING, CHANGING = ("read", "list", "pyarrow"), ("publish", "create", "remove")


@pytest.mark.parametrize(
    ("use", "fault"),
    [
        *((use, fault) for use in (*ASKING, *CHANGING) for fault in (500, 503, LOST)),
        *((use, CUT) for use in ASKING),
    ],
)
def test_lasting_trouble_ends_with_where_what_and_how_often(proxy, storage, use, fault):
    proxy.always = fault
    with pytest.raises(StorageError, match=r"^s3://.*/sweep/t.*: cannot .*: .+ \(tried 4 times in [\d.]+ s\)$"):
        USES[use][0](storage)
    assert len(proxy.requests) >= 4, "aiohttp by itself sends once more what a kept connection did not answer"


def test_a_store_that_never_answers_is_given_up_within_the_bound(proxy, storage):
    hours = FakeClock(tick=0.4 * HANG_S)
    storage = ObjectStorage(storage.uri, replace(SHORT, attempts=1000, request_s=0.5, clock=hours))
    proxy.always = SILENT
    with pytest.raises(StorageError, match=r"cannot read: .*tried 3 times in"):
        storage.read("t/a")
    with pytest.raises(StorageError, match=r"cannot write: .*tried 3 times in"):
        storage.publish("t/a", b"x")


def test_a_store_that_stops_to_take_what_is_written_is_given_up(proxy, storage, monkeypatch):
    """More than the buffers between hold, so that no answer is awaited yet."""
    monkeypatch.setattr(object_storage, "SLOWEST_BYTES_PER_S", 2**28)
    storage = ObjectStorage(storage.uri, Retries(attempts=2, first_wait_s=0.01, request_s=1.0))
    proxy.always = DEAF
    with pytest.raises(StorageError, match=r"t/large: cannot write: .*\(tried 2 times in"):
        storage.publish("t/large", bytes(2**25))


def test_a_file_is_read_and_written_by_one_request(proxy, storage):
    """Of two requests, each could meet another publish."""
    storage.publish("t/large", bytes(2**20))
    storage.read("t/large")
    assert [request.partition(" ")[0] for request in proxy.requests] == ["PUT", "GET"]


def test_what_stood_before_trouble_stands_after_it(proxy, storage):
    proxy.always = 503
    with pytest.raises(StorageError):
        storage.publish("t/a", b"new")
    proxy.always = None
    assert storage.read("t/a") == b"content"
    storage.publish("t/a", b"new")
    assert storage.read("t/a") == b"new"


def test_a_refusal_is_told_at_once(proxy, storage):
    proxy.always = 403
    for use in (*ASKING, *CHANGING):
        proxy.requests.clear()
        with pytest.raises(StorageError, match=r"cannot .*: (Access Denied|Forbidden); set AWS_ACCESS_KEY_ID"):
            USES[use][0](storage)
        assert len(proxy.requests) == 1


def test_a_bucket_that_is_not_there_is_told_at_once(proxy, storage):
    storage = ObjectStorage("s3://no-such-bucket/sweep", SHORT)
    for use in ("read", "list", "publish", "create", "remove"):
        proxy.requests.clear()
        with pytest.raises(StorageError, match=r"no-such-bucket/sweep/t.*: The specified bucket does not exist$"):
            USES[use][0](storage)
        assert len(proxy.requests) == 1


def test_a_creation_whose_answer_was_lost_is_the_creators(proxy, storage):
    proxy.faults = [200, LOST]
    assert storage.create("t/lock", b"holder 1")
    assert proxy.faults == []
    assert not storage.create("t/lock", b"holder 2")
    assert storage.read("t/lock") == b"holder 1"


def test_a_creation_that_failed_once_and_then_lost_the_race_is_not(proxy, storage, s3_server):
    """The first PUT never arrives, and before the second another holder's does."""
    other = ObjectStorage(storage.uri, SHORT)

    def sleep(_):
        other.publish("t/lock", b"holder 2")

    late = ObjectStorage(storage.uri, Retries(attempts=4, sleep=sleep))
    proxy.faults = [200, 500]
    assert not late.create("t/lock", b"holder 1")
    assert storage.read("t/lock") == b"holder 2"


def test_of_many_creators_one_wins_where_writes_are_conditional(proxy, storage):
    names = [f"holder {number}".encode() for number in range(8)]
    start, winners = threading.Barrier(len(names)), []

    def race(name):
        start.wait()
        if storage.create("t/lock", name):
            winners.append(name)

    proxy.faults = [200, 200, 409, 200, 503]
    threads = [threading.Thread(target=race, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert winners == [storage.read("t/lock")]


def test_a_ledger_written_through_trouble_has_every_row_once(proxy, storage, s3_server):
    ledger = Ledger(storage=storage, sweep="sweep")
    trial = make_trial()
    proxy.faults = [503, 200, LOST, 200, 500, 200, CUT, LOST, 200, 500] * 2
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    worker = TrialWriter(ledger)
    for count in (1, 2, 3):
        evaluations = [evaluation_record(step) for step in range(count)]
        examples = [example_record(step) for step in range(count)]
        worker.publish(trial.trial_id, evaluations, examples, outcome(last_step=2) if count == 3 else None)
    with warnings.catch_warnings(action="error"):
        DriverWriter(ledger).merge()
        assert ledger.table("evaluations").num_rows == 3
    assert proxy.faults == []
    folder = s3_server.folder / storage.uri.removeprefix("s3://")
    seen = duckdb.sql(f"select step from read_parquet('{folder}/evaluations/*.parquet') order by step").fetchall()
    assert seen == [(0,), (1,), (2,)]
