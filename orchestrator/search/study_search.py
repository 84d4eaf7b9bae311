"""The search of one Optuna study: it proposes settings, and is told of every evaluated step.

The study is disposable and rebuilt from the ledger. The sampler is seeded afresh for every proposal from (search seed,
name, number), so a proposal is a function of what the study has been told, not of how often the process was restarted.
"""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.search.proposals import Proposal
from orchestrator.search.sampling.constraints import violations
from orchestrator.search.sampling.finished_trials import finished_trial
from orchestrator.search.sampling.listed_points import Candidate, grid_points, shuffled_points, trials_per_stratum
from orchestrator.search.sampling.samplers import STEP_INDEX, study_sampler
from orchestrator.spec import SearchConfig, SweepSpec, trial_config
from search_spaces import Value, contains, distributions, settings, suggest
from trainables.config import TrialConfig
from trainables.deferred import Deferred
from trainables.optim import SCHEDULES, Horizon
from trainables.records import DIVERGED_VALUES, Observation
from trainables.seeding import derive_seed

# each loads PyTorch or SciPy, which a search with another sampler does not need
_gaussian_process: Callable[..., Candidate] = Deferred("orchestrator.search.sampling.gaussian_process", "propose")
_evolution_strategy: Callable[..., Candidate] = Deferred("orchestrator.search.sampling.evolution_strategy", "propose")
_quasi_random_point: Callable[..., Candidate] = Deferred(
    "orchestrator.search.sampling.quasi_random", "quasi_random_point"
)


class StudySearch:
    """The search of one study, of a forget set or of some of its strata."""

    def __init__(
        self,
        spec: SweepSpec,
        name: str,
        *,
        stream: str | None = None,
        base_performance: Callable[[], float] | None = None,
    ) -> None:
        """Begin a search that has proposed nothing.

        Args:
            spec: the sweep.
            name: the study's.
            stream: the name of its random draws, which studies may share; None: that of the study.
            base_performance: returns the base model's, in nats per token; called if a bound is measured from it.
        """
        self._search: SearchConfig = spec.search
        self._base_performance = base_performance
        self._axis = spec.steps
        self._indices = {step: index for index, step in enumerate(spec.steps)}
        self._space = spec.space
        self._name = name
        self._seed = derive_seed(spec.search.seed, "search", stream or name)
        self._horizon = spec.horizon
        self._listed: list[Candidate] = []
        if spec.search.sampler == "grid":
            self._listed = grid_points(spec)
        elif spec.search.sampler == "brute_force":
            self._listed = shuffled_points(spec, seed=derive_seed(self._seed, "order"))
        self.trials = trials_per_stratum(spec)
        """How many proposals it makes; None: until the sweep's budget is spent."""
        self._numbers: set[int] = set()
        self._next_number = 0
        self._open: dict[int, optuna.Trial | None] = {}
        self._last_space: tuple[Proposal, dict[str, BaseDistribution]] | None = None
        """The proposal that the study was told of last, and the distributions of its dimensions."""
        objectives = 2 if spec.search.minimize == "both" else 1
        self.study = optuna.create_study(study_name=name, directions=["minimize"] * objectives)

    @property
    def is_complete(self) -> bool:
        """Whether all proposals were made."""
        return self.trials is not None and self.proposed >= self.trials

    @property
    def proposed(self) -> int:
        """How many proposals were made."""
        return len(self._numbers)

    @property
    def next_number(self) -> int:
        """The lowest number without a proposal. The ledger may have lost one in the middle."""
        while self._next_number in self._numbers:
            self._next_number += 1
        return self._next_number

    def admits(self, proposal: Proposal) -> bool:
        """Return whether a proposal could be one of this search: its point in the space, its step on the axis."""
        return contains(self._space, proposal.point) and proposal.step_index < len(self._axis)

    def skip(self, proposal: Proposal) -> None:
        """Mark a proposal's number as taken, without learning from it."""
        self._numbers.add(proposal.number)

    def propose(self) -> Proposal:
        """Return the next proposal. It stays pending until ``finish``."""
        number = self.next_number
        self._numbers.add(number)
        candidate = self._candidate(number)
        fixed = None if candidate is None else {**candidate[0], STEP_INDEX: candidate[1]}
        return self._ask(number, fixed, notes={})

    def _candidate(self, number: int) -> Candidate | None:
        """Return the point that the study is to take; None: its sampler chooses."""
        match self._search.sampler:
            case "grid" | "brute_force":
                return self._listed[number]
            case "qmc":
                seed = derive_seed(self._seed, "sequence")
                return _quasi_random_point(self._space, len(self._axis), seed=seed, number=number)
            case "gp" if number >= self._search.startup_trials:
                seed = self._sampler_seed(number)
                return _gaussian_process(self.study, self._space, len(self._axis), seed=seed)
            case "cmaes":
                return _evolution_strategy(
                    self.study,
                    self._space,
                    len(self._axis),
                    horizon=self._horizon,
                    seed=self._sampler_seed(number),
                )
            case _:
                return None

    def _sampler_seed(self, number: int) -> int:
        return derive_seed(self._seed, "sampler", number) % 2**32

    def _ask(self, number: int, fixed: Mapping[str, Value] | None, *, notes: Mapping[str, Any]) -> Proposal:
        """Ask the study for a proposal, or have it take a known point, with the notes that its sampler made then."""
        if fixed is not None:  # as study.enqueue_trial does, which cannot take notes
            attributes = {"fixed_params": dict(fixed), **notes}
            self.study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=attributes))
        niches_seed = derive_seed(self._seed, "niches")
        self.study.sampler = study_sampler(
            self._search, number, seed=self._sampler_seed(number), niches_seed=niches_seed
        )
        asked = self.study.ask()
        point = suggest(asked, self._space)
        step_index = asked.suggest_int(STEP_INDEX, 0, len(self._axis) - 1)
        self._open[number] = asked
        attributes = self.study.get_trials(deepcopy=False)[asked.number].system_attrs
        kept = {key: value for key, value in attributes.items() if key.endswith(":generation")}
        return Proposal(number=number, point=point, step_index=step_index, notes=kept)

    def config_of(self, proposal: Proposal) -> tuple[TrialConfig, tuple[int, ...], int | None]:
        """Return a proposal's trial: configuration, steps to evaluate, and horizon."""
        config = trial_config(settings(self._space, proposal.point))
        if SCHEDULES[config.schedule].horizon is Horizon.FIXED:
            horizon = self._axis[proposal.step_index]
            return config, (horizon,), horizon
        last = proposal.step_index if self._search.extent == "sampled" else len(self._axis) - 1
        return config, self._axis[: last + 1], None

    def observe(self, proposal: Proposal, observation: Observation) -> None:
        """Tell the study of one evaluated step."""
        step_index = self._indices[observation.step]
        if step_index == proposal.step_index and proposal.number in self._open:
            self._close(proposal, observation.values, feasible=observation.feasible)
        else:
            self._add(proposal, step_index, observation.values, feasible=observation.feasible)

    def finish(self, proposal: Proposal, *, infeasible_beyond: bool) -> None:
        """End a proposal. Its own step was told before, or it counts as infeasible (beyond a bound) or as failed."""
        if proposal.number in self._open:
            self._close(proposal, DIVERGED_VALUES if infeasible_beyond else None, feasible=False)

    def replay(self, proposal: Proposal, observations: list[Observation], *, infeasible_beyond: bool | None) -> None:
        """Put a proposal of the ledger back as if it had just run, where it stood in the study's history.

        Args:
            proposal: the proposal.
            observations: its evaluated steps.
            infeasible_beyond: as for ``finish``; None: it has not ended, and stays open.
        """
        self._numbers.add(proposal.number)
        if infeasible_beyond is None:
            self._ask(proposal.number, {**proposal.point, STEP_INDEX: proposal.step_index}, notes=proposal.notes)
        else:
            self._open[proposal.number] = None
            own_step = self._axis[proposal.step_index]
            observations = sorted(observations, key=lambda o: o.step != own_step)
            if not observations or observations[0].step != own_step:
                self.finish(proposal, infeasible_beyond=infeasible_beyond)
        for observation in observations:
            self.observe(proposal, observation)

    def _close(self, proposal: Proposal, values: tuple[float, float] | None, *, feasible: bool) -> None:
        """Tell the study the values of the proposed point; None: it failed."""
        asked = self._open.pop(proposal.number)
        if asked is None:  # proposed by an earlier process
            self._add(proposal, proposal.step_index, values, feasible=feasible)
        elif values is None:
            self.study.tell(asked, state=TrialState.FAIL)
        else:
            for name, violation in self._violations(values, feasible=feasible).items():
                asked.set_constraint(name, violation)
            self.study.tell(asked, self._minimised(values))

    def _add(self, proposal: Proposal, step_index: int, values: tuple[float, float] | None, *, feasible: bool) -> None:
        """Add a finished observation; without values it failed. Its parameters stand in the order of ``suggest``.

        Samplers draw by that order, which a point from the ledger may have lost.
        """
        space = self._distributions(proposal)
        known = {**proposal.point, STEP_INDEX: step_index}
        self.study.add_trial(
            finished_trial(
                values=None if values is None else self._minimised(values),
                params={name: known[name] for name in space},
                distributions=space,
                notes=proposal.notes,
                constraints=None if values is None else self._violations(values, feasible=feasible),
            )
        )

    def _distributions(self, proposal: Proposal) -> dict[str, BaseDistribution]:
        """Return the distributions of a proposal's dimensions; its steps, told one after another, share them."""
        if self._last_space is None or self._last_space[0] is not proposal:
            step_index = {STEP_INDEX: IntDistribution(0, len(self._axis) - 1)}
            self._last_space = proposal, {**distributions(self._space, proposal.point), **step_index}
        return self._last_space[1]

    def _minimised(self, values: tuple[float, float]) -> list[float]:
        """Return the values that this search minimises."""
        kept = {"both": values, "unlearning_quality": values[:1], "performance": values[1:]}
        return list(kept[self._search.minimize])

    def _violations(self, values: tuple[float, float], *, feasible: bool) -> dict[str, float]:
        bounds = self._search.constraints
        measured = bounds.performance_increase_at_most is not None and self._base_performance is not None
        return violations(
            bounds,
            values,
            feasible=feasible,
            base_performance=self._base_performance() if measured and self._base_performance else None,
        )
