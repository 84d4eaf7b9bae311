"""How to run or resume a sweep: what the command line reads before it loads what runs one."""

from dataclasses import dataclass
from enum import StrEnum


class ExecutorName(StrEnum):
    """Where the work of a sweep is done."""

    RAY = "ray"
    """By Ray: workers on this machine, or on the cluster that ``RAY_ADDRESS`` names."""
    INLINE = "inline"
    """In the process that drives the sweep, one trial after another."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run a sweep, or to go on with one that exists."""

    resume: bool = False
    """Go on with a sweep that exists; without it, one that is not finished is refused."""
    retry_failed: bool = False
    """Run its failed trials again, from their checkpoints."""
    force: bool = False
    """Go on although settings, data, models or code have changed, or there is nothing to unlearn."""
    take_over: bool = False
    """Go on although another process says that it drives the sweep, and is not known to be dead."""
    profile: bool = False
    """Record by PyTorch's profiler what the first trial does that this run starts."""
    executor: ExecutorName = ExecutorName.RAY
