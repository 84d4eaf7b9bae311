"""Which points of a sweep are probed: those that the user names, or those that a user would choose."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.errors import SweepError
from orchestrator.frontier import Frontier, Row, frontiers
from orchestrator.ledger import Ledger
from orchestrator.points import EvaluatedStep, best_step, chosen_points, curve_points, find_step, parse_conditions
from orchestrator.safe_text import command
from orchestrator.spec import stored_spec


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How the user chooses points; with nothing, the points that a user would choose on each frontier."""

    on_frontier: bool = False
    """The points of each frontier ..."""
    most: int | None = None
    """... at most so many of each; None: all."""
    best: str | None = None
    """Bounds within which the best evaluation is taken, as for ``export``."""
    forget_set: str | None = None
    """The only forget set; None: all."""
    trial: str | None = None
    """A trial's id, or the beginning of it; with ``step``."""
    step: int | None = None

    def __post_init__(self) -> None:
        named = self.trial is not None or self.step is not None
        if self.on_frontier + (self.best is not None) + named > 1:
            raise SweepError("probe: choose points by one of --frontier, --best, or --trial with --step")
        if named and (self.trial is None or self.step is None):
            raise SweepError("probe: --trial and --step name a point together; give both")
        if named and self.forget_set is not None:
            raise SweepError("--forget-set: belongs to --frontier and --best; a trial has one forget set")


def choose_points(ledger: Ledger, choice: Choice) -> list[EvaluatedStep]:
    """Return the evaluated steps to probe, each once.

    Raises:
        SweepError: there is no such point, or the sweep has none that is unlearned.
    """
    stored_spec(ledger).require_forget_sets(choice.forget_set)
    if choice.best is not None:
        return [_unlearned(best_step(ledger, parse_conditions(choice.best), choice.forget_set))]
    if choice.trial is not None and choice.step is not None:
        return [_unlearned(find_step(ledger, choice.trial, choice.step))]
    found = frontiers(ledger, choice.forget_set)
    rows = {(row["trial_id"], row["step"]) for frontier in found for row in _points(frontier, choice)}
    if not rows:
        raise SweepError(
            f"sweep '{ledger.sweep}' has no completed evaluation after step 0, so there is no point to probe; see how "
            f"far it is: {command('status', ledger.storage.uri)}"
        )
    return [find_step(ledger, trial_id, step) for trial_id, step in sorted(rows)]


def _points(frontier: Frontier, choice: Choice) -> Iterable[Row]:
    return curve_points(frontier, choice.most) if choice.on_frontier else chosen_points(frontier).values()


def _unlearned(evaluated: EvaluatedStep) -> EvaluatedStep:
    if evaluated.step == 0:
        raise SweepError(
            f"trial {evaluated.trial_id}, step 0: this is the base model, which is probed beside every point of its "
            f"forget set anyhow; choose a step that is unlearned"
        )
    return evaluated
