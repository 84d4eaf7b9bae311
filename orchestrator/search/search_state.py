"""What a search knows: its studies, its trials and its budget. Scheduler and replay change it; it decides nothing."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from orchestrator.identity import Stratum, trial_key
from orchestrator.search.assignments import Assignment
from orchestrator.search.budget import Budget
from orchestrator.search.proposals import Proposal
from orchestrator.search.study_members import study_parts
from orchestrator.search.study_queues import StudyQueue
from orchestrator.search.study_search import StudySearch
from orchestrator.search.trial_states import SettingTrials, TrialState
from orchestrator.spec import SweepSpec
from trainables.records import Observation, Trial


class SearchState:
    """The studies of a sweep, and one ``TrialState`` for each trial."""

    def __init__(
        self,
        spec: SweepSpec,
        *,
        workload_hashes: Sequence[str],
        base_performance: Callable[[str, Sequence[int]], float],
        budget: Budget,
    ) -> None:
        """Begin a search that has proposed nothing.

        Args:
            spec: the sweep.
            workload_hashes: of the data and the models of each replicate.
            base_performance: returns the mean of the base models' on a forget set over some replicates; called when a
                bound is measured from it.
            budget: the sweep's account, of the same strata.
        """
        self.budget = budget
        self.queues = {
            part.name: StudyQueue(
                part=part,
                study=StudySearch(
                    spec,
                    part.name,
                    stream=part.stream,
                    base_performance=partial(base_performance, part.forget_set, part.replicates),
                ),
            )
            for part in study_parts(spec)
        }
        """By name of the study."""
        self.queue_of_stratum = {stratum: queue for queue in self.queues.values() for stratum in queue.part.strata}
        self.trials: dict[str, TrialState] = {}
        """By trial id."""
        self.unfinished: deque[Assignment] = deque()
        """Trials to go on with: interrupted ones, ones whose worker died, ones that a longer step axis opens again."""
        self.superseded: list[str] = []
        """Ids of unfinished trials of another model, other data or another space: new ones take their place."""
        self.to_repropose: dict[str, list[Observation]] = {}
        """Evaluations whose trial's own row is lost, by trial id: the trial will be proposed again."""
        self._of_settings: dict[str, SettingTrials] = {}
        """By setting."""
        self._workload_hashes = workload_hashes

    def trial(self, trial_id: str) -> TrialState:
        """Return what is known of a trial, to be changed; of a new one, nothing."""
        return self.trials.setdefault(trial_id, TrialState())

    def is_known(self, assignment: Assignment) -> bool:
        """Return whether an assignment's trial runs or has ended."""
        trial_id = assignment.trial.trial_id
        has_ended = trial_id in self.trials and self.trials[trial_id].status is not None
        return has_ended or trial_id in self.queues[assignment.study].running

    def goes_further(self, assignment: Assignment) -> bool:
        """Return whether an assignment asks its trial for more steps than it was asked for before."""
        target_step = self.trial(assignment.trial.trial_id).target_step
        return target_step is None or assignment.trial.steps[-1] > target_step

    def assign(self, queue: StudyQueue, proposal: Proposal, stratum: Stratum) -> Assignment:
        """Return the trial of a proposal in one of its study's strata."""
        part = queue.part
        config, steps, horizon = queue.study.config_of(proposal)
        trial = Trial(trial_id="", **vars(stratum), config=config, steps=steps, horizon=horizon)
        return Assignment(
            study=part.name,
            proposal=proposal,
            trial=replace(trial, trial_id=self._key(trial)),
            setting=self._key(replace(trial, **vars(part.members[0]))),
        )

    def _key(self, trial: Trial) -> str:
        return trial_key(trial, workload_hash=self._workload_hashes[trial.replicate])

    def propose(self, queue: StudyQueue) -> None:
        """Ask a study for its next setting. Its trials wait, and the study is told what the ledger has of them.

        A study that knows what it knew then proposes the same trials again. Their evaluations are there although their
        rows are lost, and the proposals after them were made by a study that knew them.
        """
        proposal = queue.study.propose()
        for stratum in queue.part.members:
            assignment = self.assign(queue, proposal, stratum)
            queue.waiting.append(assignment)
            for observation in self.to_repropose.get(assignment.trial.trial_id, []):
                if observation.step in assignment.trial.steps:
                    self.observe(assignment, observation)

    def observe(self, assignment: Assignment, observation: Observation) -> None:
        """Note one committed evaluation; its study is told of the step once all its trials were evaluated there."""
        self.budget.record(assignment.stratum, assignment.trial.trial_id, step=observation.step)
        mean = self._add(assignment, observation)
        if mean is not None:
            self.queues[assignment.study].study.observe(assignment.proposal, mean)

    def take_in(self, assignment: Assignment, observations: Sequence[Observation]) -> tuple[bool, list[Observation]]:
        """Note a trial's evaluations, in order of step, without telling its study.

        Returns:
            Whether any was new, and the means over the strata that they complete.
        """
        told_steps = self.trial(assignment.trial.trial_id).told_steps
        new = [o for o in observations if o.step in assignment.trial.steps and o.step not in told_steps]
        means = [self._add(assignment, observation) for observation in new]
        return bool(new), [mean for mean in means if mean is not None]

    def _add(self, assignment: Assignment, observation: Observation) -> Observation | None:
        """Add an evaluation to its setting's; return the mean over the strata if it completes one."""
        setting = assignment.setting
        if setting not in self._of_settings:
            self._of_settings[setting] = SettingTrials(len(self.queues[assignment.study].part.members))
        trial = self.trial(assignment.trial.trial_id)
        return self._of_settings[setting].add(assignment.stratum, trial, observation)
