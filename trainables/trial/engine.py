"""One trial from start to outcome: ascend, evaluate at each point of the step axis, publish, checkpoint, stop.

The engine is written once, for any number of workers. A reused Ray Tune actor drives it evaluation by evaluation
(``tune.narrow``), or all workers of a Ray Train group do so in step (``tune.wide``).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import attrgetter
from typing import Any

import torch

from trainables.config import CheckpointConfig, EvaluationConfig, Parallelism, Precision, StopConfig
from trainables.distributed import build_accelerator, current_worker_group, share_model
from trainables.encoding import BatchSource, EncodedSet
from trainables.metrics import EvaluationSets, NonFiniteEvaluationError, evaluate
from trainables.models import DamagedCheckpointError, FrozenBase, WeightsSnapshot, recompute_activations
from trainables.objectives import check_objective
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Status, Trial
from trainables.trial.ascent import Ascent, DivergedError
from trainables.trial.batch_plan import AscentData
from trainables.trial.sinks import LeaderSink, TrialSink
from trainables.trial.stopping import early_end, is_rung

Clock = Callable[[], float]
Evaluated = tuple[EvaluationRecord, list[ExampleRecord]]
"""One evaluation, and its examples."""

SLICE_S = 5.0
"""Seconds of ascent after which ``TrialRun.advance`` returns, so that a trial can stop between evaluations."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What all trials of a sweep share: base weights and encoded data. NumPy inside, so workers map it, not copy it."""

    base: WeightsSnapshot
    evaluation_sets: Mapping[str, EvaluationSets]
    """By forget set."""
    retain: BatchSource
    """The retain set of objectives that need one."""
    alternates: Mapping[str, EncodedSet] = field(default_factory=dict)
    """By forget set, its examples with other answers, for objectives that need them."""
    evaluation: EvaluationConfig
    checkpoint: CheckpointConfig
    precision: Precision
    stop: StopConfig = field(default_factory=StopConfig)
    """Its floor is also in the evaluation sets."""
    threads: int
    """Intra-op threads: pinned, for another number gives other roundings."""
    parallelism: Parallelism = "ddp"
    """How several workers share a trial's model."""
    gradient_checkpointing: bool = False
    use_gpu: bool = True
    """False: on the CPU, whatever the machine has. A GPU that a trial did not ask for is another's."""


class Engine:
    """A resident model on this process's device: one for all the trials that a worker runs, one after another."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.group = current_worker_group()
        self.accelerator = build_accelerator(workload.precision, workload.parallelism, use_gpu=workload.use_gpu)
        torch.set_num_threads(workload.threads)  # after Accelerate, which has a number of its own for CPUs
        model = workload.base.build()
        if workload.gradient_checkpointing:
            recompute_activations(model)
        self.model = share_model(self.accelerator, model)
        self._of_base: dict[str, Evaluated | None] = {}

    @cached_property
    def reference(self) -> FrozenBase:
        """The frozen base model, made for the first objective that compares with it; it stays for those that follow."""
        return FrozenBase(self.accelerator, self.accelerator.unwrap_model(self.model), self.workload.base)

    def start(self, trial: Trial) -> Ascent:
        """Put the base weights back and start a trajectory; nothing of an earlier trial is left."""
        config, workload = trial.config, self.workload
        objective = check_objective(config.objective, config.objective_weights, compat=config.compat)
        self.accelerator.free_memory()
        workload.base.restore(self.accelerator.unwrap_model(self.model))
        return Ascent(
            accelerator=self.accelerator,
            group=self.group,
            model=self.model,
            base=workload.base,
            reference=self.reference if objective.uses_base(config.objective_weights) else None,
            data=AscentData(
                forget=workload.evaluation_sets[trial.forget_set].forget,
                retain=workload.retain,
                alternates=workload.alternates.get(trial.forget_set) if objective.needs_alternate else None,
            ),
            config=config,
            seed=trial.seed,
            horizon=trial.horizon,
        )

    def evaluate_base(self, forget_set: str) -> Evaluated | None:
        """Evaluate the base model as the trials of a forget set are evaluated, once for all of them.

        To be called where the model has the base weights: right after ``start``. None: a metric is not finite.
        """
        if forget_set not in self._of_base:
            try:
                self._of_base[forget_set] = evaluate(
                    self.model,
                    self.workload.evaluation_sets[forget_set],
                    batch_size=self.workload.evaluation.batch_size,
                    step=0,
                    tokens_seen=0,
                    elapsed_s=0.0,
                    group=self.group,
                )
            except NonFiniteEvaluationError:
                self._of_base[forget_set] = None
        return self._of_base[forget_set]


class TrialRun:
    """A trial in progress. ``outcome`` is None until it ended.

    Among its rows is always the base model's, of step 0. Where 0 is no step of the axis, that row is published with the
    others, and nothing is decided by it.
    """

    def __init__(self, engine: Engine, trial: Trial, sink: TrialSink, *, clock: Clock = time.monotonic) -> None:
        self._engine = engine
        self._trial = trial
        self._sink = LeaderSink(sink, engine.group)
        self._clock = partial(engine.group.broadcast_result, clock)
        self._ascent = engine.start(trial)
        self._evaluations, examples = self._sink.published(trial.trial_id)
        committed = {evaluation.step for evaluation in self._evaluations}
        self._examples = [example for example in examples if example.step in committed]  # examples are published first
        self._elapsed_before_s = self._evaluations[-1].elapsed_s if self._evaluations else 0.0
        self._may_have_ended = bool(self._on_axis)
        """What an earlier process evaluated last may have ended the trial, and the outcome alone been lost."""
        self.outcome: Outcome | None = None
        self.rung: int | None = None
        """The rung that the trial has reached, at which its driver has to judge it before the next slice."""
        self.warning: str | None = None
        """What went wrong on the way, and was made good."""
        self._base = None if 0 in committed else engine.evaluate_base(trial.forget_set)
        """The base model's evaluation, where no earlier process has published it."""
        if self._base is not None and 0 not in trial.steps:
            self._add(*self._base)
        self._restore()
        self._started = self._last_checkpoint = self._clock()
        self._checkpoint_step = self._ascent.step

    def _restore(self) -> None:
        """Go on from the checkpoint; without a sound one, from the base model, which ends in the same numbers."""
        payload = self._sink.load_checkpoint(self._trial.trial_id)
        if payload is None:
            return
        try:
            progress = self._ascent.unpack(payload)
        except DamagedCheckpointError as error:
            self._start_anew(f"its checkpoint is damaged ({error})")
            return
        waiting = self._waiting()
        if waiting and progress.step > waiting[0]:
            self._start_anew(f"its checkpoint is of step {progress.step}, and step {waiting[0]} has no rows")
            return
        self._elapsed_before_s = max(self._elapsed_before_s, progress.elapsed_s)

    def _start_anew(self, reason: str) -> None:
        self._sink.discard_checkpoint(self._trial.trial_id)
        self._ascent = self._engine.start(self._trial)
        self.warning = f"trial {self._trial.trial_id}: {reason}; it ascends anew"

    def _waiting(self) -> list[int]:
        """List the points of the axis that are not evaluated yet."""
        done = {evaluation.step for evaluation in self._evaluations}
        return [step for step in self._trial.steps if step not in done]

    def _add(self, evaluation: EvaluationRecord, examples: list[ExampleRecord]) -> None:
        self._evaluations = sorted([*self._evaluations, evaluation], key=attrgetter("step"))
        self._examples = sorted([*self._examples, *examples], key=attrgetter("step"))

    @property
    def _on_axis(self) -> list[EvaluationRecord]:
        """Every evaluation so far, but the base model's where 0 is no step of the axis."""
        return [evaluation for evaluation in self._evaluations if evaluation.step > 0 or 0 in self._trial.steps]

    @property
    def step(self) -> int:
        """Steps that have been taken, before an interruption included."""
        return self._ascent.step

    @property
    def evaluations(self) -> list[EvaluationRecord]:
        """Every evaluation so far, in step order, the base model's and those of before an interruption included."""
        return list(self._evaluations)

    @property
    def elapsed_s(self) -> float:
        """Seconds spent on this trial, before an interruption included."""
        return self._elapsed_before_s + self._clock() - self._started

    def advance(self) -> EvaluationRecord | None:
        """Go on to the next point of the step axis and publish its evaluation.

        None: there is no point any more, or it is still ahead and whoever drives may look up: after a checkpoint, and
        every ``SLICE_S``. The outcome is published with the evaluation that ends the trial. Asked to stop, the trial is
        left in good order instead (``interrupt``).
        """
        if self._sink.stopping():
            self.interrupt()
            return None
        waiting = self._waiting()
        if self._stands_still(waiting):
            return None
        try:
            if not self._reach(waiting[0]):
                return None
            evaluation, examples = self._evaluate()
        except (DivergedError, NonFiniteEvaluationError) as error:
            self._finish(Status.DIVERGED, str(error))
            return None
        self._add(evaluation, examples)
        if ending := self._ending(evaluation, waiting[1:]):
            self._finish(*ending)
        else:
            self._sink.publish(self._trial.trial_id, self._evaluations, self._examples, None)
            self._note_rung(evaluation.step)
            if self._checkpoint_is_due():
                self.checkpoint()
        return evaluation

    def _stands_still(self, waiting: list[int]) -> bool:
        """Return whether this slice takes no step: the trial has ended, or has to be judged at a rung first."""
        if self.rung is not None:
            self.rung = None
            reason = self._sink.verdict(self._trial.trial_id)
            if reason is not None:
                self._finish(Status.COMPLETED, reason)
        elif self._may_have_ended:
            self._may_have_ended = False
            last = self._on_axis[-1]
            if ending := self._ending(last, waiting):
                self._finish(*ending)
            else:
                self._note_rung(last.step)
        return self.outcome is not None or self.rung is not None

    def _note_rung(self, step: int) -> None:
        if is_rung(self._engine.workload.stop, step):
            self.rung = step

    def _reach(self, step: int) -> bool:
        """Ascend towards ``step``; False: not there yet."""
        assert self._ascent.step <= step
        look_up = self._clock() + SLICE_S
        while self._ascent.step < step:
            self._ascent.advance(self._ascent.step + 1)
            if self._ascent.step < step and self._checkpoint_is_due():
                self.checkpoint()
                return False
            if self._clock() >= look_up:
                return self._ascent.step == step
        return True

    def _checkpoint_is_due(self) -> bool:
        every = self._engine.workload.checkpoint
        steps = self._ascent.step - self._checkpoint_step
        return steps > 0 and (
            self._clock() - self._last_checkpoint >= every.every_s
            or (every.every_steps is not None and steps >= every.every_steps)
        )

    def checkpoint(self) -> None:
        """Save the trajectory where it stands."""
        self._sink.save_checkpoint(self._trial.trial_id, self._ascent.pack(self.elapsed_s))
        self._last_checkpoint = self._clock()
        self._checkpoint_step = self._ascent.step

    def interrupt(self) -> None:
        """Stop an unfinished trial in good order: a checkpoint, and the status ``stopped``."""
        if self.outcome is None:
            self.checkpoint()
            self._publish_outcome(Status.STOPPED, "interrupted; resume continues from its checkpoint")

    def _ending(self, last: EvaluationRecord, waiting: list[int]) -> tuple[Status, str | None] | None:
        """Return how the trial ends with its last evaluation, and why before its time; None: it goes on."""
        if last.status is Status.COLLAPSED:
            limit = self._sets.max_heldout_nll
            return last.status, f"step {last.step}: held-out NLL {last.heldout_nll:.3f} is above the floor {limit:.3f}"
        if not waiting:
            return Status.COMPLETED, None
        reason = early_end(self._engine.workload.stop, self._on_axis)
        return (Status.COMPLETED, reason) if reason is not None else None

    def _finish(self, status: Status, message: str | None = None) -> None:
        if status is Status.COMPLETED and self._ascent.step == self._evaluations[-1].step:
            message = self._with_movement(message)
        keeps = status is Status.COMPLETED and self._keep_last_state()
        self._publish_outcome(status, message)
        if not keeps:
            self._sink.discard_checkpoint(self._trial.trial_id)

    def _with_movement(self, message: str | None) -> str | None:
        """Add to how a trial ended that its weights have hardly moved, if so, and warn of it."""
        still = self._ascent.movement_warning()
        if still is None:
            return message
        self.warning = "; ".join(filter(None, [self.warning, f"trial {self._trial.trial_id}: {still}"]))
        return "; ".join(filter(None, [message, still]))

    def _keep_last_state(self) -> bool:
        """Save where a trial ended that a longer step axis may go on from, unless that takes too much room."""
        most = self._engine.workload.checkpoint.keep_mib * 2**20
        if self._trial.horizon is not None or self._ascent.state_bytes > most:
            return False
        if self._ascent.step > self._checkpoint_step:
            self.checkpoint()
        return True

    def _publish_outcome(self, status: Status, message: str | None) -> None:
        self.outcome = Outcome(
            status=status,
            last_step=self._evaluations[-1].step if self._evaluations else 0,
            message=message,
            elapsed_s=self.elapsed_s,
        )
        self._sink.publish(self._trial.trial_id, self._evaluations, self._examples, self.outcome)

    @property
    def _sets(self) -> EvaluationSets:
        return self._engine.workload.evaluation_sets[self._trial.forget_set]

    def _evaluate(self) -> Evaluated:
        if self._ascent.step == 0 and self._base is not None:
            return self._base
        with self._ascent.evaluated() as model:
            return evaluate(
                model,
                self._sets,
                batch_size=self._engine.workload.evaluation.batch_size,
                step=self._ascent.step,
                tokens_seen=self._ascent.tokens_seen,
                elapsed_s=self.elapsed_s,
                group=self._engine.group,
            )


def run_to_end(engine: Engine, trial: Trial, sink: TrialSink, **kwargs: Any) -> TrialRun:
    """Run a trial to its outcome in this process."""
    run = TrialRun(engine, trial, sink, **kwargs)
    while run.outcome is None:
        run.advance()
    return run
