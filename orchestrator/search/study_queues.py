"""The trials of each study that wait or run, and the seeds that a study searches."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.identity import stratum_name
from orchestrator.search.assignments import Assignment
from orchestrator.search.study_search import StudySearch
from orchestrator.spec import SweepSpec

REPEATS_IN_A_ROW = 100
"""Proposals of a study, one after another, that bring nothing new: a search without a number of trials ends then."""


@dataclass(frozen=True, kw_only=True)
class StudyPart:
    """What one study searches: all strata of a forget set, or one of them."""

    name: str
    """Name of the study."""
    forget_set: str
    seeds: tuple[int, ...]

    @property
    def strata(self) -> list[str]:
        """Names of the strata."""
        return [stratum_name(self.forget_set, seed) for seed in self.seeds]


def study_parts(spec: SweepSpec) -> Iterator[StudyPart]:
    """Yield what each study of a sweep searches: a forget set, or a stratum (``search.across``)."""
    for forget_set in spec.data.forget_sets:
        if spec.search.across == "seeds":
            yield StudyPart(name=forget_set, forget_set=forget_set, seeds=spec.seeds)
        else:
            for seed in spec.seeds:
                yield StudyPart(name=stratum_name(forget_set, seed), forget_set=forget_set, seeds=(seed,))


@dataclass(kw_only=True)
class StudyQueue:
    """One study, and which of its trials wait or run."""

    part: StudyPart
    study: StudySearch
    waiting: list[Assignment] = field(default_factory=list)
    """Trials that were proposed and not handed out: their turn has not come, or the ledger lost their rows, or their
    seed is new to the sweep."""
    running: set[str] = field(default_factory=set)
    """Ids of the trials that were handed out and have not ended."""
    repeats_in_a_row: int = 0
    """How many of the last proposals asked for nothing that had not been asked for."""
    ended_seeds: dict[int, dict[int, bool]] = field(default_factory=dict)
    """By number of an open proposal: the seeds of it that have ended, and whether beyond a bound."""

    @property
    def finds_nothing_new(self) -> bool:
        """Whether a search without a number of trials goes round in circles."""
        return self.study.trials is None and self.repeats_in_a_row >= REPEATS_IN_A_ROW

    def count_proposal(self, assignment: Assignment, *, is_new: bool) -> None:
        """Count proposals that bring nothing new; the first of a proposal's seeds stands for all."""
        if assignment.trial.seed == self.part.seeds[0]:
            self.repeats_in_a_row = 0 if is_new else self.repeats_in_a_row + 1

    def end_seed(self, assignment: Assignment, *, infeasible: bool) -> None:
        """Note that a seed of a proposal has ended; with the last of them the proposal has."""
        number = assignment.proposal.number
        ended = self.ended_seeds.setdefault(number, {})
        ended[assignment.trial.seed] = infeasible
        if len(ended) == len(self.part.seeds):
            del self.ended_seeds[number]
            self.study.finish(assignment.proposal, infeasible_beyond=any(ended.values()))
