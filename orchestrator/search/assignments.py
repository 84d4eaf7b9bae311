"""A trial to run, with the study and the proposal that it came from."""

from dataclasses import dataclass

from orchestrator.identity import Stratum
from orchestrator.search.proposals import Proposal
from trainables.records import Trial


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial, and the study and proposal that it came from."""

    study: str
    """Name of the study."""
    proposal: Proposal
    trial: Trial
    setting: str
    """What the trials of a proposal share: the identity of the first of them, whichever this one is."""

    @property
    def stratum(self) -> str:
        """Name of the trial's stratum."""
        return Stratum.of(self.trial).name
