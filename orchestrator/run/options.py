"""How to go on with a sweep that exists: what the command line reads before it loads what runs a sweep."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to go on with a sweep that exists."""

    resume: bool = False
    """Go on with it; without it, an existing sweep that is not finished is refused."""
    retry_failed: bool = False
    """Run its failed trials again, from their checkpoints."""
    force: bool = False
    """Go on although settings, data, models or code have changed, or there is nothing to unlearn."""
    take_over: bool = False
    """Go on although another process says that it drives the sweep, and is not known to be dead."""
