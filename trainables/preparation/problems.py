"""What ``checks`` finds wrong with data, a model and settings. It loads no PyTorch."""

from dataclasses import dataclass
from enum import Enum


class Grade(Enum):
    """How bad a problem is."""

    FAILS = "fails"
    """The sweep would fail. Refused."""
    MISLEADS = "misleads"
    """It would run, and its numbers would not be what they are called. Refused, unless the sweep exists already."""
    NOTE = "note"
    """It is said, and no more."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    where: str
    """A spec key; of data, with the set and the example."""
    found: str
    allowed: str
    advice: str
    """What to do."""
    grade: Grade = Grade.FAILS

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; {self.allowed}; {self.advice}"
