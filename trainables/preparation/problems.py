"""What a check finds wrong with data, a model or settings. It loads no PyTorch."""

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad a problem is."""

    FAILS = "fails"
    """The sweep would fail. Refused."""
    MISLEADS = "misleads"
    """The sweep would run, but its numbers would not be what they are called. Refused, unless it exists already."""
    NOTE = "note"
    """The user is told, and the sweep runs."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    where: str
    """The spec key; for data, also the set and the example."""
    found: str
    """What is there."""
    allowed: str
    """What could be there instead."""
    advice: str
    """What to do next."""
    severity: Severity = Severity.FAILS

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; {self.allowed}; {self.advice}"
