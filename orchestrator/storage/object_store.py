"""Files of a sweep in an object store, or in whatever else fsspec opens by a URI."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.fs
from fsspec.asyn import AsyncFileSystem

from orchestrator.storage.object_files import RetryingHandler
from orchestrator.storage.paths import checked_path
from orchestrator.storage.retries import Answer, Retries

SLOWEST_BYTES_PER_S = 2**18
"""A write slower than this, after ``Retries.request_s``, counts as failed: the store may have stopped accepting."""


class ObjectStorage:
    """A folder of an fsspec filesystem that writes an object by one atomic PUT (``s3://``, ``gs://``, ``memory://``).

    Transient errors (5xx, throttling, timeouts, broken connections) are retried as ``Retries`` says; a refusal (403, no
    such bucket) is raised at once. S3 is set up by the standard ``AWS_*`` environment variables. The retries of its own
    packages are turned off, so that they are counted in one place; those of other stores' packages multiply ours.
    """

    def __init__(self, uri: str, retries: Retries | None = None) -> None:
        self._uri = uri.rstrip("/")
        self._retries = retries or Retries()
        self._filesystem, self._root = _open(self._uri, self._retries)

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectStorage, (self._uri, self._retries)

    @property
    def uri(self) -> str:
        """The folder's URI."""
        return self._uri

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """See ``Storage``. After a ``StorageError`` the store may still apply a request that it did not answer."""
        self._put(path, bytes(content), "write")

    def create(self, path: str, content: bytes) -> bool:
        """See ``Storage``. Exactly one caller gets True where the store has conditional writes.

        S3 (``If-None-Match: *``), Google (``ifGenerationMatch=0``) and Azure have them. ``memory://`` looks and then
        writes, which is enough for one thread. With a store that ignores the condition (as ``rclone serve s3`` does),
        False is returned for a file that was there before, but two callers at once may both get True.

        When an answer was lost, the request is sent again, and the file found then may be the caller's own: the caller
        whose content is there gets True. So the content should name the caller.
        """
        if self.read(path) is not None:
            return False
        try:
            self._put(path, content, "create", answers=(FileExistsError,), mode="create")
        except FileExistsError:
            return self.read(path) == content
        return True

    def read(self, path: str) -> bytes | None:
        """See ``Storage``."""
        try:
            content: bytes = self._do(self._filesystem.cat_file, path, "read", answers=(FileNotFoundError,))
        except FileNotFoundError:
            return None
        return content

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """See ``Storage``."""
        try:
            found = self._do(
                lambda place: self._filesystem.ls(place, detail=True), folder, "list", answers=(FileNotFoundError,)
            )
        except FileNotFoundError:
            return {}
        named = {PurePosixPath(entry["name"]).name: entry for entry in found if entry["type"] == "file"}
        return {
            f"{folder}/{name}": _stamp(named[name])
            for name in sorted(named)
            if name.endswith(suffix) and not name.startswith(".")
        }

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        try:
            self._do(self._filesystem.rm_file, path, "remove", answers=(FileNotFoundError,))
        except FileNotFoundError:
            return

    def move(self, path: str, to: str) -> None:
        """See ``Storage``. Not atomic: for a moment the file is in both places."""
        content = self.read(path)
        if content is not None:
            self.publish(to, content)
            self.remove(path)

    def remove_leftovers(self) -> None:
        """See ``Storage``. There is nothing to do: no file is ever written aside."""

    def arrow(self, path: str | None = None) -> tuple[pyarrow.fs.FileSystem, str]:
        """See ``Storage``."""
        filesystem = pyarrow.fs.PyFileSystem(RetryingHandler(self._filesystem, self._retries))
        return filesystem, self._root if path is None else f"{self._root}/{checked_path(path)}"

    def child(self, name: str) -> "ObjectStorage":
        """See ``Storage``."""
        return ObjectStorage(f"{self._uri}/{checked_path(name)}", self._retries)

    def _put(
        self,
        path: str,
        content: bytes,
        doing: str,
        *,
        answers: tuple[type[Exception], ...] = (),
        **options: Any,
    ) -> None:
        if isinstance(self._filesystem, AsyncFileSystem):
            options["timeout"] = self._retries.request_s + len(content) / SLOWEST_BYTES_PER_S
        self._do(lambda place: self._filesystem.pipe_file(place, content, **options), path, doing, answers)

    def _do(
        self, request: Callable[[str], Answer], path: str, doing: str, answers: tuple[type[Exception], ...] = ()
    ) -> Answer:
        place = f"{self._root}/{checked_path(path)}"
        return self._retries.call(lambda: request(place), f"{self._uri}/{path}", doing, answers)


def _open(uri: str, retries: Retries) -> tuple[Any, str]:
    """Open a filesystem. On S3 it sends each request once, and reads an object by one GET.

    Ranges of an object that are read at the same time could come from two different publishes.
    """
    if not uri.startswith(("s3://", "s3a://")):
        filesystem, root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
        return filesystem, root
    config = {
        "connect_timeout": retries.request_s,
        "read_timeout": retries.request_s,
        "retries": {"total_max_attempts": 1},
        # for a range, rclone returns the checksum of the whole object; the ledger's Parquet pages have their own
        "response_checksum_validation": "when_required",
    }
    filesystem, root = fsspec.core.url_to_fs(uri, use_listings_cache=False, max_concurrency=1, config_kwargs=config)
    filesystem.retries = 1  # s3fs has its own loop around botocore's
    return filesystem, root


def _stamp(entry: dict[str, Any]) -> str:
    """Return text that differs after each PUT: the entity tag, or without one, size and time."""
    when = next((entry[key] for key in ("LastModified", "updated", "mtime", "created") if entry.get(key)), "")
    return str(entry.get("ETag") or entry.get("etag") or f"{entry['size']}-{when}")
