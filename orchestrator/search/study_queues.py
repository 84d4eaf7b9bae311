"""The trials of each study that wait or run."""

from dataclasses import dataclass, field

from orchestrator.search.assignments import Assignment
from orchestrator.search.study_members import StudyPart
from orchestrator.search.study_search import StudySearch

REPEATS_IN_A_ROW = 100
"""Proposals of a study, one after another, that bring nothing new: a search without a number of trials ends then."""


@dataclass(kw_only=True)
class StudyQueue:
    """One study, and which of its trials wait or run."""

    part: StudyPart
    study: StudySearch
    waiting: list[Assignment] = field(default_factory=list)
    """Trials that were proposed and not handed out: their turn has not come, or the ledger lost their rows, or their
    stratum is new to the sweep."""
    running: set[str] = field(default_factory=set)
    """Ids of the trials that were handed out and have not ended."""
    repeats_in_a_row: int = 0
    """How many of the last proposals asked for nothing that had not been asked for."""
    ended_strata: dict[int, dict[str, bool]] = field(default_factory=dict)
    """By number of an open proposal: the strata in which it has ended, and whether beyond a bound."""

    @property
    def finds_nothing_new(self) -> bool:
        """Whether a search without a number of trials goes round in circles."""
        return self.study.trials is None and self.repeats_in_a_row >= REPEATS_IN_A_ROW

    def count_proposal(self, assignment: Assignment, *, is_new: bool) -> None:
        """Count proposals that bring nothing new; the first of a proposal's trials stands for all."""
        if assignment.stratum == self.part.strata[0]:
            self.repeats_in_a_row = 0 if is_new else self.repeats_in_a_row + 1

    def end_trial(self, assignment: Assignment, *, infeasible: bool) -> None:
        """Note that a trial of a proposal has ended; with the last of them the proposal has."""
        number = assignment.proposal.number
        ended = self.ended_strata.setdefault(number, {})
        ended[assignment.stratum] = infeasible
        if len(ended) == len(self.part.members):
            del self.ended_strata[number]
            self.study.finish(assignment.proposal, infeasible_beyond=any(ended.values()))
