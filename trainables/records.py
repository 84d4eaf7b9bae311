"""What the science layer takes and returns: trials, rows of results, statuses, and protocols of where results go.

Units: every ``*_nll`` is in nats per target token, every exposure in bits. ``None`` means "not measured".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, Self

from trainables.config import TrialConfig
from trainables.seeding import derive_seed


class Status(StrEnum):
    """How a trial ended. An evaluation is ``COMPLETED``, or ``COLLAPSED`` if it is beyond the performance floor."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    COLLAPSED = "collapsed"
    STOPPED = "stopped"
    FAILED = "failed"


ENDED = frozenset({Status.COMPLETED, Status.DIVERGED, Status.COLLAPSED, Status.FAILED})
"""Statuses of trials that are not run again. Stopped trials, and those without a status, are resumed."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What defines one trial, beside the workload that all trials of its replicate share."""

    trial_id: str
    forget_set: str
    seed: int
    """The seed that the sweep lists. What is random in the ascent follows from ``ascent_seed``."""
    replicate: int = 0
    """Number of the replicate: of the draw of data and models that the trial unlearns."""
    config: TrialConfig
    steps: tuple[int, ...]
    """The steps at which the model is evaluated, increasing; step 0 is the base model."""
    horizon: int | None
    """Total number of steps, for a learning rate schedule that depends on it."""
    is_profiled: bool = False
    """Whether the worker records what PyTorch does. It decides no number."""

    @property
    def ascent_seed(self) -> int:
        """The seed of batch order and dropout: another one in each replicate; in the first, ``seed`` itself."""
        return derive_seed(self.seed, "replicate", self.replicate) if self.replicate else self.seed


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """Results of one (trial, step): means over the forget set, and the model's performance."""

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
    """NLL of never-trained examples of the forget set's own kind. None: in rows of older versions."""
    distractor_nll: float | None = None
    """NLL of retained examples of its kind. None: the set has no distractors, or the row is of an older version."""
    tokens_seen: int
    elapsed_s: float
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What the chosen metrics found (``evaluation.metrics``), by column. One without a finite value is left out."""

    def columns(self) -> dict[str, Any]:
        """Return every value by column, those of the chosen metrics among them."""
        return _columns(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a search learns from one evaluated step: of one trial, or the mean over the trials of a setting."""

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
    """Results of one (trial, step, forget example)."""

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
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What the chosen metrics found of this example, by column. One without a finite value is left out."""

    def columns(self) -> dict[str, Any]:
        """Return every value by column, those of the chosen metrics among them."""
        return _columns(self)


def _columns(record: EvaluationRecord | ExampleRecord) -> dict[str, Any]:
    own = {name: value for name, value in vars(record).items() if name != "metrics"}
    return {**own, **record.metrics, **own}  # a metric takes the place of no column


TIMES: Mapping[str, str] = {
    "reset_s": "putting the base model's weights back, starting objective and optimizer",
    "step_s": "ascent steps",
    "evaluate_s": "evaluations, of the base model too where none before it was kept",
    "commit_s": "waiting for rows to be published, without the last of them; steps go on meanwhile",
    "checkpoint_s": "packing checkpoints, waiting for them to be saved while steps go on, and reading them",
}
"""Parts of a trial's wall time, in seconds: the name of each, and what it holds. What is left is waiting."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended, its last step, and why it went no further."""

    status: Status
    last_step: int
    message: str | None
    elapsed_s: float
    times: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Where the time went, by name of ``TIMES``; empty where nobody measured it. Every worker of a group has its own,
    of which the leader's is published: outcomes are compared without it."""

    def columns(self) -> dict[str, Any]:
        """Return every value by column of the trial, the times among them."""
        return {name: value for name, value in vars(self).items() if name != "times"} | dict(self.times)


class RowSink(Protocol):
    """Where the rows of trials go. Implementations publish atomically and idempotently, trial by trial."""

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
    ) -> None:
        """Replace the visible rows of a trial with *all* of its rows so far; ``outcome`` is given once it has ended."""

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """Return the visible rows of a trial, in step order."""


class CheckpointStore(Protocol):
    """Where checkpoints go: at most one for each key (a trial or a model in training), replaced atomically."""

    def save_checkpoint(self, key: str, payload: bytes, /) -> None:
        """Replace the checkpoint of ``key``."""

    def load_checkpoint(self, key: str, /) -> bytes | None:
        """Return the checkpoint of ``key``; None: there is none."""

    def discard_checkpoint(self, key: str, /) -> None:
        """Delete the checkpoint of ``key``, if there is one."""
