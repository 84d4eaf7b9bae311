"""One stratum's Optuna study: proposes trials, is told every evaluated step, and is rebuilt from the ledger.

The study is disposable. The sampler is seeded afresh for every proposal from (search seed, stratum, number), so a
proposal is a function of what the study has been told, not of how often the process was restarted.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from orchestrator import gaussian_process
from orchestrator.samplers import STEP_INDEX, Candidate, grid_points, quasi_random_point, study_sampler
from orchestrator.spec import SearchConfig, SweepSpec, trial_config
from search_spaces import Value, contains, settings
from search_spaces.optuna_space import distributions, suggest
from trainables.config import TrialConfig
from trainables.optimizers import SCHEDULES
from trainables.seeding import derive_seed


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What the sampler proposed: a point of the space, how far along the step axis, and the sampler's own notes."""

    number: int
    point: Mapping[str, Value]
    step_index: int
    notes: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Give what the ledger keeps of it."""
        return {
            "number": self.number,
            "point": dict(self.point),
            "step_index": self.step_index,
            "notes": dict(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One evaluated step, as the study is told of it. Infeasible: collapsed, or diverged before this step."""

    step: int
    values: tuple[float, float]
    """(unlearning quality, performance), both minimised; infinite where there is no number."""
    feasible: bool


DIVERGED_VALUES = (math.inf, math.inf)


class Stratum:
    """The search within one stratum."""

    def __init__(self, spec: SweepSpec, name: str) -> None:
        self._search: SearchConfig = spec.search
        self._axis = spec.steps
        self._space = spec.space
        self._name = name
        self._seed = derive_seed(spec.search.seed, "search", name)
        self._grid = grid_points(spec) if spec.search.sampler == "grid" else []
        self.budget = len(self._grid) or spec.search.trials or 0
        self._numbers: set[int] = set()
        self._open: dict[int, optuna.Trial | None] = {}
        self.study = optuna.create_study(study_name=name, directions=["minimize", "minimize"])

    @property
    def proposed(self) -> int:
        """How many trials were proposed."""
        return len(self._numbers)

    @property
    def next_number(self) -> int:
        """The first number that was not proposed: the ledger may have lost one in the middle."""
        return next(number for number in itertools.count() if number not in self._numbers)

    def admits(self, proposal: Proposal) -> bool:
        """Tell whether a proposal could be one of this search: its point in the space, its step on the axis."""
        return contains(self._space, proposal.point) and proposal.step_index < len(self._axis)

    def skip(self, proposal: Proposal) -> None:
        """Take a proposal's number without learning from it."""
        self._numbers.add(proposal.number)

    def propose(self) -> Proposal:
        """Ask for the next trial. It stays pending until ``finish``."""
        number = self.next_number
        self._numbers.add(number)
        candidate = self._candidate(number)
        fixed = None if candidate is None else {**candidate[0], STEP_INDEX: candidate[1]}
        return self._ask(number, fixed, notes={})

    def _candidate(self, number: int) -> Candidate | None:
        """Give the point that the study is to take; None: its sampler chooses."""
        match self._search.sampler:
            case "grid":
                return self._grid[number]
            case "qmc":
                seed = derive_seed(self._seed, "sequence")
                return quasi_random_point(self._space, len(self._axis), seed=seed, number=number)
            case "gp" if number >= self._search.startup_trials:
                seed = self._sampler_seed(number)
                return gaussian_process.propose(self.study, self._space, len(self._axis), seed=seed)
            case _:
                return None

    def _sampler_seed(self, number: int) -> int:
        return derive_seed(self._seed, "sampler", number) % 2**32

    def _ask(self, number: int, fixed: Mapping[str, Value] | None, *, notes: Mapping[str, Any]) -> Proposal:
        """Ask the study, or have it take a point that is known already, with the sampler's notes of then."""
        if fixed is not None:  # as study.enqueue_trial does, which cannot take notes
            attributes = {"fixed_params": dict(fixed), **notes}
            self.study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=attributes))
        self.study.sampler = study_sampler(self._search, number, seed=self._sampler_seed(number))
        asked = self.study.ask()
        point = suggest(asked, self._space)
        step_index = asked.suggest_int(STEP_INDEX, 0, len(self._axis) - 1)
        self._open[number] = asked
        attributes = self.study.get_trials(deepcopy=False)[asked.number].system_attrs
        kept = {key: value for key, value in attributes.items() if key.endswith(":generation")}
        return Proposal(number=number, point=point, step_index=step_index, notes=kept)

    def config_of(self, proposal: Proposal) -> tuple[TrialConfig, tuple[int, ...], int | None]:
        """Turn a proposal into a trial's configuration, the steps to evaluate, and the horizon."""
        config = trial_config(settings(self._space, proposal.point))
        if SCHEDULES[config.schedule].needs_horizon:
            horizon = self._axis[proposal.step_index]
            return config, (horizon,), horizon
        last = proposal.step_index if self._search.extent == "sampled" else len(self._axis) - 1
        return config, self._axis[: last + 1], None

    def observe(self, proposal: Proposal, observation: Observation) -> None:
        """Tell the study of one evaluated step, at once."""
        step_index = self._axis.index(observation.step)
        if step_index == proposal.step_index and proposal.number in self._open:
            self._close(proposal, observation.values, feasible=observation.feasible)
        else:
            self._add(proposal, step_index, observation.values, feasible=observation.feasible)

    def finish(self, proposal: Proposal, *, infeasible_beyond: bool) -> None:
        """End a proposal. Nothing stays pending: the point it asked for was told, lies beyond the end, or failed."""
        if proposal.number in self._open:
            self._close(proposal, DIVERGED_VALUES if infeasible_beyond else None, feasible=False)

    def replay(self, proposal: Proposal, observations: list[Observation], *, infeasible_beyond: bool | None) -> None:
        """Put a trial of the ledger back as if it had just run, each point where it stood in the study's history.

        Args:
            proposal: what was proposed.
            observations: its evaluated steps.
            infeasible_beyond: as for ``finish``; None: the trial has not ended, and stays open.
        """
        self._numbers.add(proposal.number)
        if infeasible_beyond is None:
            self._ask(proposal.number, {**proposal.point, STEP_INDEX: proposal.step_index}, notes=proposal.notes)
        else:
            self._open[proposal.number] = None
            observations = sorted(observations, key=lambda o: self._axis.index(o.step) != proposal.step_index)
            if not any(self._axis.index(o.step) == proposal.step_index for o in observations):
                self.finish(proposal, infeasible_beyond=infeasible_beyond)
        for observation in observations:
            self.observe(proposal, observation)

    def _close(self, proposal: Proposal, values: tuple[float, float] | None, *, feasible: bool) -> None:
        """Give the proposed point its values; None: it failed."""
        asked = self._open.pop(proposal.number)
        if asked is None:  # proposed by an earlier process
            self._add(proposal, proposal.step_index, values, feasible=feasible)
        elif values is None:
            self.study.tell(asked, state=TrialState.FAIL)
        else:
            asked.set_constraint("feasible", _violation(feasible))
            self.study.tell(asked, values)

    def _add(self, proposal: Proposal, step_index: int, values: tuple[float, float] | None, *, feasible: bool) -> None:
        """Add a finished observation; without values it failed. Parameters stand in the order ``suggest`` gives them.

        Samplers draw by that order; a point that comes back from the ledger may have lost it.
        """
        space = self._distributions(proposal)
        known = {**proposal.point, STEP_INDEX: step_index}
        self.study.add_trial(
            create_trial(
                state=TrialState.FAIL if values is None else TrialState.COMPLETE,
                values=values,
                params={name: known[name] for name in space},
                distributions=space,
                system_attrs=dict(proposal.notes),
                constraints=None if values is None else {"feasible": _violation(feasible)},
            )
        )

    def _distributions(self, proposal: Proposal) -> dict[str, BaseDistribution]:
        return {
            **distributions(self._space, proposal.point),
            STEP_INDEX: IntDistribution(0, len(self._axis) - 1),
        }


def _violation(feasible: bool) -> float:
    return 0.0 if feasible else 1.0
