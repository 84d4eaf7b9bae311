"""What the errors of object stores mean, of whichever fsspec package they come. None of those is imported here."""

import http.client
from collections.abc import Iterator

_PASSING_STATUSES = {408, 425, 429}
_PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "XAmzContentSHA256Mismatch",
}
"""Error codes of S3 that may come with any HTTP status; some say that a request was damaged on its way."""
_PASSING_TYPES = {
    "ClientConnectionError",  # aiohttp
    "ClientPayloadError",  # aiohttp
    "ConnectionError",  # botocore, requests, and Python's own
    "HTTPClientError",  # botocore: closed connections and timeouts
    "IncompleteReadError",  # botocore
    "ResponseParserError",  # botocore: a proxy's error page in place of XML
    "TransportError",  # google-auth
}
"""Names of types, or of their bases, that say that a connection failed."""


def is_passing(error: BaseException) -> bool:
    """Tell whether an error may be gone when the request is sent again: the store or the network was in trouble."""
    return any(_is_passing(link) for link in _chain(error))


def is_missing_bucket(error: BaseException) -> bool:
    """Tell whether it is not one object that is missing, but all that should hold it."""
    return any(_code(link) == "NoSuchBucket" for link in _chain(error))


def reason(error: BaseException) -> str:
    """Say in a line what a store said."""
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _is_passing(error: BaseException) -> bool:
    status = _status(error)
    if status is not None and (status in _PASSING_STATUSES or (status >= 500 and status != 501)):
        return True
    if isinstance(error, TimeoutError | http.client.IncompleteRead):
        return True
    return _code(error) in _PASSING_CODES or any(kind.__name__ in _PASSING_TYPES for kind in type(error).__mro__)


def _status(error: BaseException) -> int | None:
    """Find the HTTP status that an error carries."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:  # aiohttp, azure, gcsfs
        status = next(
            (found for name in ("status", "status_code", "code") if (found := getattr(error, name, None))), None
        )
    return status if isinstance(status, int) else None


def _code(error: BaseException) -> str | None:
    response = getattr(error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
