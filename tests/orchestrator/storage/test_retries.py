"""How often, how long and after which errors a request is sent again."""

import http.client
import pickle

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError

from orchestrator.errors import StorageError
from orchestrator.storage.retries import Retries


class Time:
    """Seconds that pass only in ``sleep``."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def retries(time, **bounds):
    return Retries(clock=time.clock, sleep=time.sleep, **bounds)


def client_error(status, code="Anything"):
    response = {"Error": {"Code": code, "Message": "said so"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "PutObject")


class HttpError(Exception):
    """As gcsfs has it."""

    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code


def translated(error):
    """As s3fs does it."""
    outer = OSError(5, "translated")
    outer.__cause__ = error
    return outer


PASSING = [
    *(client_error(status) for status in (408, 429, 500, 502, 503, 504)),
    *(client_error(400, code) for code in ("SlowDown", "RequestTimeout", "BadDigest")),
    client_error(409, "ConditionalRequestConflict"),
    client_error(200, "InternalError"),
    translated(client_error(503)),
    HttpError(503),
    TimeoutError(),
    ConnectionResetError(),
    http.client.IncompleteRead(b""),
    EndpointConnectionError(endpoint_url="http://x"),
    ConnectTimeoutError(endpoint_url="http://x"),
]
LASTING = [
    *(client_error(status) for status in (301, 400, 401, 403, 404, 409, 412, 501)),
    translated(client_error(403)),
    HttpError(401),
    NoCredentialsError(),
    PermissionError(13, "Permission denied"),
    FileNotFoundError("no such file"),
    KeyError("a bug of the filesystem's"),
]


def failing(*errors):
    """Fail with each error in turn, then answer."""
    left = list(errors)

    def request():
        if left:
            raise left.pop(0)
        return "answer"

    return request


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_passing_trouble_is_tried_again(error):
    time = Time()
    assert retries(time).call(failing(error, error), "s3://b/x", "read") == "answer"
    assert len(time.slept) == 2


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_everything_else_is_told_at_once(error):
    time = Time()
    with pytest.raises(StorageError, match=r"^s3://b/x: cannot read: .*[^)]$") as caught:
        retries(time).call(failing(error), "s3://b/x", "read")
    assert time.slept == []
    assert caught.value.__cause__ is error


def test_waits_double_up_to_the_longest():
    time = Time()
    retries(time, attempts=8, first_wait_s=1, longest_wait_s=16).call(failing(*[TimeoutError()] * 7), "x", "read")
    for slept, doubled in zip(time.slept, [1, 2, 4, 8, 16, 16, 16], strict=True):
        assert doubled / 2 <= slept <= doubled


def test_waits_differ_between_callers():
    times = [Time() for _ in range(2)]
    for time in times:
        retries(time).call(failing(*[TimeoutError()] * 7), "x", "read")
    assert times[0].slept != times[1].slept


def test_attempts_are_bounded():
    with pytest.raises(StorageError, match=r"x: cannot write: too slow \(tried 3 times in \d+\.\d s\)"):
        retries(Time(), attempts=3).call(failing(*[SlowError("too slow")] * 3), "x", "write")


class SlowError(TimeoutError):
    """A timeout of a package's own."""

    def __str__(self):
        return "too slow"


def test_seconds_are_bounded():
    time = Time()
    with pytest.raises(StorageError, match="tried"):
        retries(time, attempts=10**6, limit_s=100).call(failing(*[TimeoutError()] * 10**6), "x", "write")
    assert 100 - 20 <= time.now <= 100


def test_an_error_that_is_an_answer_passes_through():
    error = FileNotFoundError("x")
    with pytest.raises(FileNotFoundError):
        Retries().call(failing(error), "x", "read", answers=(FileNotFoundError,))


def test_a_missing_bucket_is_no_answer():
    error = FileNotFoundError("the bucket")
    error.__cause__ = client_error(404, "NoSuchBucket")
    with pytest.raises(StorageError, match="the bucket"):
        Retries().call(failing(error), "x", "read", answers=(FileNotFoundError,))


def test_an_interrupt_is_not_an_error_of_the_store():
    with pytest.raises(KeyboardInterrupt):
        Retries().call(failing(KeyboardInterrupt()), "x", "read")


def test_retries_travel_between_processes():
    assert pickle.loads(pickle.dumps(Retries(attempts=3))) == Retries(attempts=3)
