"""Files of an object store for pyarrow's own readers: read by ranges, each retried like any request."""

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.fs

from orchestrator.storage.retries import Answer, Retries


class RetryingHandler(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]  # pyarrow is not typed
    """An fsspec filesystem for ``pyarrow.fs.PyFileSystem``. Reads are retried, and raise ``StorageError``."""

    def __init__(self, filesystem: Any, retries: Retries) -> None:
        super().__init__(filesystem)
        self._retries = retries

    def get_file_info(self, paths: list[str]) -> Any:
        """Describe files, also missing ones."""
        return self._ask(lambda: pyarrow.fs.FSSpecHandler.get_file_info(self, paths), ", ".join(paths), "look up")

    def get_file_info_selector(self, selector: Any) -> Any:
        """List files."""
        return self._ask(
            lambda: pyarrow.fs.FSSpecHandler.get_file_info_selector(self, selector), selector.base_dir, "list"
        )

    def open_input_file(self, path: str) -> Any:
        """Open a file to be read by ranges."""
        size = self._ask(lambda: self.fs.size(path), path, "look up")

        def read(start: int, end: int) -> bytes:
            content: bytes = self._ask(lambda: self.fs.cat_file(path, start=start, end=end), path, "read")
            return content

        return pa.PythonFile(_Ranges(read, size), mode="r")

    def open_input_stream(self, path: str) -> Any:
        """Open a file to be read in order."""
        return self.open_input_file(path)

    def _ask(self, request: Callable[[], Answer], path: str, doing: str) -> Answer:
        return self._retries.call(request, self.fs.unstrip_protocol(path), doing, answers=(FileNotFoundError,))


class _Ranges(io.RawIOBase):
    """A file of known size that requests each range when it is read."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if self._at >= end:
            return b""
        content = self._read(self._at, end)
        self._at += len(content)
        return content
