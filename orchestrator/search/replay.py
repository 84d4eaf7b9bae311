"""Rebuilds what a search knows from the ledger: every study, every trial, and the account of the budget.

Proposals come back in the order in which they were made, so that a rebuilt study is the one that ran.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.identity import canonical_json
from orchestrator.ledger import Ledger
from orchestrator.search.assignments import Assignment
from orchestrator.search.proposals import Proposal
from orchestrator.search.search_state import SearchState
from orchestrator.search.study_queues import StudyQueue
from orchestrator.spec import SweepSpec
from trainables.records import ENDED, Observation, Status
from trainables.trial import stays_ended

INFEASIBLE = frozenset({Status.DIVERGED, Status.COLLAPSED})
"""How a trial ends beyond a bound."""
LARGEST_GAP = 10_000
"""Proposals in a row that a ledger may have lost: a number further away is of no search."""


def replay(state: SearchState, spec: SweepSpec, ledger: Ledger) -> None:
    """Put everything that the ledger holds back into a search that has proposed nothing."""
    _Replay(state, spec, ledger).run()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """A proposal as the ledger keeps it, with the trial that was made of it in one stratum."""

    proposal: Proposal
    is_last: bool
    """Whether the trial was not proposed again after it."""
    row: Mapping[str, Any]
    """The trial's row."""


class _Replay:
    """One replay, with the evaluations of the ledger at hand."""

    def __init__(self, state: SearchState, spec: SweepSpec, ledger: Ledger) -> None:
        self._state = state
        self._spec = spec
        self._ledger = ledger
        self._observations: dict[str, list[Observation]] = {}
        """By trial id, in order of step."""

    def run(self) -> None:
        """Read the ledger, and put its proposals back one after another."""
        elapsed_s = self._read_evaluations()
        rows = self._ledger.trials()
        with_row = {row["trial_id"] for row in rows}
        self._state.to_repropose = {
            trial_id: observations for trial_id, observations in self._observations.items() if trial_id not in with_row
        }
        rows = [row for row in rows if row["stratum"] in self._state.queue_of_stratum]
        for row in rows:
            self._record_cost(row, evaluated_s=elapsed_s.get(row["trial_id"], 0.0))
        for queue, stored in self._proposals(rows):
            self._restore(queue, stored)

    def _read_evaluations(self) -> dict[str, float]:
        """Read the evaluations of all trials; return how long each trial took until its last one, in seconds."""
        elapsed_s: dict[str, float] = {}
        columns = ["trial_id", "step", "status", "unlearning_quality", "performance", "elapsed_s"]
        for row in self._ledger.table("evaluations", columns).to_pylist():
            trial_id = row.pop("trial_id")
            elapsed_s[trial_id] = max(elapsed_s.get(trial_id, 0.0), row.pop("elapsed_s") or 0.0)
            self._observations.setdefault(trial_id, []).append(Observation.measured(**row))
        for observations in self._observations.values():
            observations.sort(key=lambda observation: observation.step)
        return elapsed_s

    def _record_cost(self, row: Mapping[str, Any], *, evaluated_s: float) -> None:
        trial_id = row["trial_id"]
        observations = self._observations.get(trial_id)
        self._state.budget.record(
            row["stratum"],
            trial_id,
            step=observations[-1].step if observations else 0,
            elapsed_s=max(row["elapsed_s"] or 0.0, evaluated_s),
        )

    def _proposals(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[StudyQueue, list[_Stored]]]:
        """Yield every proposal with its trials, by number. Equal numbers may be of two searches."""
        stored = [
            _Stored(proposal=Proposal(**proposal), is_last=index == len(proposals) - 1, row=row)
            for row in rows
            for proposals in [json.loads(row["proposals"])]
            for index, proposal in enumerate(proposals)
        ]
        together: dict[tuple[int, str, str], list[_Stored]] = {}
        for each in sorted(stored, key=lambda each: each.proposal.number):
            proposal, queue = each.proposal, self._state.queue_of_stratum[each.row["stratum"]]
            point = canonical_json([proposal.point, proposal.step_index])
            together.setdefault((proposal.number, queue.part.name, point), []).append(each)
        for (_, name, _), trials in together.items():
            yield self._state.queues[name], trials

    def _restore(self, queue: StudyQueue, trials: Sequence[_Stored]) -> None:
        """Put one proposal back, after those before it whose rows the ledger lost."""
        study, number = queue.study, trials[0].proposal.number
        known: dict[str, tuple[Assignment, _Stored]] = {}
        members = {member.name: member for member in queue.part.members}
        for stored in trials:
            stratum = members[stored.row["stratum"]]
            assignment = self._state.assign(queue, stored.proposal, stratum) if study.admits(stored.proposal) else None
            is_far = number - study.next_number > LARGEST_GAP
            if assignment is None or assignment.trial.trial_id != stored.row["trial_id"] or is_far:
                self._skip_foreign(queue, stored)
            else:
                known[stratum.name] = assignment, stored
        if known:
            while study.next_number < min(number, study.trials or number):
                self._state.propose(queue)
            self._restore_proposal(queue, known)

    def _skip_foreign(self, queue: StudyQueue, stored: _Stored) -> None:
        """Leave a trial of another model, other data or another space as it is: no study can learn from it.

        If it has ended its number stays taken; if not, a new trial takes its place.
        """
        row = stored.row
        if row["status"] in ENDED:
            queue.study.skip(stored.proposal)
            trial = self._state.trial(row["trial_id"])
            trial.status = Status(row["status"])
            if trial.target_step is None:
                trial.target_step = row["target_step"]
        else:
            self._state.superseded.append(row["trial_id"])

    def _restore_proposal(self, queue: StudyQueue, known: Mapping[str, tuple[Assignment, _Stored]]) -> None:
        """Put a proposal back, with what its trials have shown. One that the ledger lacks will run.

        Args:
            queue: of the study.
            known: the proposal's trials, by stratum; one at least.
        """
        proposal = next(iter(known.values()))[0].proposal
        told: list[Observation] = []
        ended: dict[str, bool] = {}
        for stratum in queue.part.members:
            if stratum.name in known:
                means, infeasible = self._restore_trial(queue, *known[stratum.name])
                if infeasible is not None:
                    ended[stratum.name] = infeasible
            else:
                assignment = self._state.assign(queue, proposal, stratum)
                queue.waiting.append(assignment)
                lost = self._state.to_repropose.get(assignment.trial.trial_id, [])
                means = self._state.take_in(assignment, lost)[1]
            told += means
        is_open = len(ended) < len(queue.part.members)
        if is_open:
            queue.ended_strata[proposal.number] = ended
        queue.study.replay(
            proposal,
            sorted(told, key=lambda observation: observation.step),
            infeasible_beyond=None if is_open else any(ended.values()),
        )

    def _restore_trial(
        self, queue: StudyQueue, assignment: Assignment, stored: _Stored
    ) -> tuple[list[Observation], bool | None]:
        """Put one trial back.

        Returns:
            What its study is to be told, and whether the trial ended beyond a bound; None: it goes on.
        """
        row, last_step = stored.row, assignment.trial.steps[-1]
        trial_id = assignment.trial.trial_id
        trial = self._state.trial(trial_id)
        has_news, means = self._state.take_in(assignment, self._observations.get(trial_id, []))
        has_ended = trial.status is not None
        was_extended = has_ended and self._state.goes_further(assignment) and last_step <= row["target_step"]
        queue.count_proposal(assignment, is_new=self._state.goes_further(assignment))
        trial.target_step = max(trial.target_step or 0, last_step)
        status = self._status_after(assignment, stored)
        trial.status = status
        if status is None:
            self._state.budget.open(assignment.stratum, trial_id, last_step)
            self._state.unfinished.append(assignment)
            return means, None
        is_repeated = has_ended and not has_news and not was_extended
        return means, status in INFEASIBLE and not is_repeated

    def _status_after(self, assignment: Assignment, stored: _Stored) -> Status | None:
        """Return how the trial had ended when it was proposed the next time, or how it has; None: it goes on."""
        row = stored.row
        status = Status(row["status"]) if row["status"] in ENDED else None
        if not stored.is_last:
            return status or Status.COMPLETED  # only a completed trial is asked to go further
        axis_has_grown = assignment.trial.steps[-1] > row["target_step"]
        if status is Status.COMPLETED and (axis_has_grown or self._may_continue(row)):
            return None
        return status

    def _may_continue(self, row: Mapping[str, Any]) -> bool:
        """Return whether a trial ended before its time by a rule that the spec no longer has."""
        if row["last_step"] >= row["target_step"]:
            return False
        published, _ = self._ledger.published(row["trial_id"])
        on_axis = [evaluation for evaluation in published if evaluation.step > 0 or 0 in self._spec.steps]
        return not stays_ended(self._spec.stop, on_axis)
