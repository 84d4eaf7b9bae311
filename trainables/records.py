"""What the science layer is asked for and hands to the outside: trials, row types, statuses, the ``RowSink`` protocol.

Units: every ``*_nll`` is in nats per target token, every exposure in bits. ``None`` is "not measured".
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from trainables.config import TrialConfig


class Status(StrEnum):
    """How a trial ended. An evaluation is ``COMPLETED``, or ``COLLAPSED`` if it lies beyond the performance floor."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    COLLAPSED = "collapsed"
    STOPPED = "stopped"
    FAILED = "failed"


ENDED = frozenset({Status.COMPLETED, Status.DIVERGED, Status.COLLAPSED, Status.FAILED})
"""Statuses of trials that are not run again; a stopped one, and one without status, goes on."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one trial is, beside the workload it shares with the others."""

    trial_id: str
    forget_set: str
    seed: int
    config: TrialConfig
    steps: tuple[int, ...]
    """The step values to evaluate at, increasing; 0 is the base model."""
    horizon: int | None
    """Total steps, for a schedule that looks at it."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One (trial, step): means over the forget set, and the model's performance."""

    step: int
    status: Status
    forget_nll: float
    gen_ex: float | None
    gen_ex_abs: float | None
    gen_ex_per_token: float | None
    rel_ex: float
    rel_ex_skew_normal: float
    extraction_rate: float
    membership_auc: float
    retain_nll: float
    heldout_nll: float
    heldout_perplexity: float
    bleu: float | None = None
    chrf: float | None = None
    unlearning_quality: float
    performance: float
    population_nll: float | None = None
    """Of never-trained examples of the forget set's own kind. None: in rows of older versions."""
    distractor_nll: float | None = None
    """Of retained examples of its kind. None: the set has no distractors, or the row is of an older version."""
    tokens_seen: int
    elapsed_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a search learns from one evaluated step: of one trial, or the mean over the seeds of a setting."""

    step: int
    values: tuple[float, float]
    """(unlearning quality, performance), both minimised; infinite where there is no number."""
    feasible: bool
    """Whether the model is neither collapsed nor diverged at this step."""

    @classmethod
    def of(cls, evaluation: EvaluationRecord) -> Self:
        """Return the observation of an evaluation."""
        return cls.measured(
            step=evaluation.step,
            status=evaluation.status,
            unlearning_quality=evaluation.unlearning_quality,
            performance=evaluation.performance,
        )

    @classmethod
    def measured(cls, *, step: int, status: str, unlearning_quality: float | None, performance: float | None) -> Self:
        """Return the observation of these columns of an evaluation. One without a finite number is infeasible."""
        if unlearning_quality is None or performance is None:
            return cls(step=step, values=DIVERGED_VALUES, feasible=False)
        values = (unlearning_quality, performance)
        if not all(map(math.isfinite, values)):
            return cls(step=step, values=DIVERGED_VALUES, feasible=False)
        return cls(step=step, values=values, feasible=status == Status.COMPLETED)


DIVERGED_VALUES = (math.inf, math.inf)
"""Values of an observation that has no number."""


@dataclass(frozen=True, kw_only=True)
class ExampleRecord:
    """One (trial, step, forget example)."""

    step: int
    example_id: str
    num_tokens: int
    nll: float
    gen_ex: float | None
    rel_ex: float
    rel_ex_skew_normal: float
    extracted: bool
    memorization: float | None
    difficulty: float | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended, how far it got, and why it went no further."""

    status: Status
    last_step: int
    message: str | None
    elapsed_s: float


class RowSink(Protocol):
    """Where a trial's results go. Implementations publish atomically and idempotently, by trial."""

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
    ) -> None:
        """Make *all* of a trial's rows so far visible, replacing what was visible of it; ``outcome`` once it ended."""

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """Read the rows of a trial that are visible now, in step order."""


class CheckpointStore(Protocol):
    """Where checkpoints go: at most one a trial, or a model in training, replaced atomically."""

    def save_checkpoint(self, key: str, payload: bytes, /) -> None:
        """Replace its checkpoint."""

    def load_checkpoint(self, key: str, /) -> bytes | None:
        """Read its checkpoint, if there is one."""

    def discard_checkpoint(self, key: str, /) -> None:
        """Forget its checkpoint, if there is one."""
