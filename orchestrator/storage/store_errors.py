"""What errors of object stores mean, whichever fsspec package they come from; none of them is imported here."""

import errno
import http.client
from collections.abc import Iterator

_TRANSIENT_STATUSES = {408, 425, 429}
_TRANSIENT_CODES = {
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
"""Error codes of S3 that may come with any HTTP status; some mean that a request was damaged on its way."""
_TRANSIENT_TYPES = {
    "ClientConnectionError",  # aiohttp
    "ClientPayloadError",  # aiohttp
    "ConnectionError",  # botocore, requests, and Python's own
    "HTTPClientError",  # botocore: closed connections and timeouts
    "IncompleteReadError",  # botocore
    "ResponseParserError",  # botocore: a proxy's error page in place of XML
    "TransportError",  # google-auth
}
"""Names of error types, or of their bases, that mean that a connection failed."""

_UNUSABLE = {
    errno.EACCES, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip
"""Errors of the system for a place where nothing can be written, however often one retries."""
_CREDENTIAL_TYPES = {
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError", "SSOTokenLoadError",
}  # fmt: skip
_CREDENTIAL_CODES = {
    "403", "AccessDenied", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "SignatureDoesNotMatch",
}  # fmt: skip
_AWS_ADVICE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN with them where they are temporary), or "
    "AWS_PROFILE, here and on the workers"
)


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may succeed: the store or the network failed for the moment."""
    return any(_is_transient(link) for link in _chain(error))


def is_missing_bucket(error: BaseException) -> bool:
    """Return whether the whole bucket is missing, and not only an object."""
    return any(_code(link) == "NoSuchBucket" for link in _chain(error))


def is_unusable(error: BaseException) -> bool:
    """Return whether a store would refuse again: there is no such place, or rights or credentials are missing."""
    if error.__cause__ is None:
        return False  # its cause is not known
    system = next((link.errno for link in _chain(error) if isinstance(link, OSError) and link.errno is not None), None)
    return system in _UNUSABLE if system is not None else not is_transient(error)


def reason(error: BaseException) -> str:
    """Return a store's message in one line; if credentials are missing or refused, with how to give them."""
    text = " ".join(str(error).split())
    said = text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
    return f"{said}; {_AWS_ADVICE}" if any(_lacks_credentials(link) for link in _chain(error)) else said


def _lacks_credentials(error: BaseException) -> bool:
    return type(error).__name__ in _CREDENTIAL_TYPES or _code(error) in _CREDENTIAL_CODES


def _is_transient(error: BaseException) -> bool:
    status = _status(error)
    if status is not None and (status in _TRANSIENT_STATUSES or (status >= 500 and status != 501)):
        return True
    if isinstance(error, TimeoutError | http.client.IncompleteRead):
        return True
    return _code(error) in _TRANSIENT_CODES or any(kind.__name__ in _TRANSIENT_TYPES for kind in type(error).__mro__)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error; None where it has none."""
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
