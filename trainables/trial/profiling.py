"""A trace of one trial by PyTorch's profiler, in the format that https://ui.perfetto.dev and chrome://tracing open."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

TRACED_STEPS = 50
"""A trace ends with the slice that reaches this step: longer ones are too large for viewers, and show nothing new."""


class TrialTrace:
    """Records the operations of a trial, on the CPU and on accelerators, from its first slice on."""

    def __init__(self, *, is_wanted: bool, keep: Callable[[bytes], None]) -> None:
        """Begin, before the first slice.

        Args:
            is_wanted: whether to record anything.
            keep: takes the trace once it has ended, as JSON compressed by gzip.
        """
        self._keep = keep
        self._profiler = torch.profiler.profile() if is_wanted else None
        self._is_running = False

    @contextmanager
    def slice(self) -> Iterator[None]:
        """Record the block. Where it raises an exception, the trace is given up."""
        if self._profiler is not None and not self._is_running:
            self._profiler.start()
            self._is_running = True
        try:
            yield
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        if self._profiler is not None and self._is_running:
            self._profiler.stop()
            self._is_running = False

    def end(self) -> None:
        """End the trace and pass it on, unless there is none, or it has ended before."""
        if self._profiler is None or not self._is_running:
            return
        self._stop()
        with tempfile.TemporaryDirectory(prefix="unlearn-sweep-trace-") as folder:
            path = Path(folder, "trace.json.gz")
            self._profiler.export_chrome_trace(str(path))
            self._profiler = None
            self._keep(path.read_bytes())
