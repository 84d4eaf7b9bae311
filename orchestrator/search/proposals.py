"""What a study's sampler proposed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces import Value


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A point of the space, and how far along the step axis to go."""

    number: int
    """The study's proposals are counted from 0."""
    point: Mapping[str, Value]
    """Values by path."""
    step_index: int
    """Index on the step axis of the last step."""
    notes: Mapping[str, Any]
    """The sampler's own."""

    def as_json(self) -> dict[str, Any]:
        """Return what the ledger keeps of the proposal."""
        return {
            "number": self.number,
            "point": dict(self.point),
            "step_index": self.step_index,
            "notes": dict(self.notes),
        }
