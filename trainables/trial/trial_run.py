"""One trial from start to outcome: ascend, evaluate at each value of the step axis, publish, checkpoint, stop.

A reused Ray Tune actor drives it evaluation by evaluation (``trainables.tune.narrow``), or all workers of a Ray Train
group do so in step (``trainables.tune.wide``).
"""

import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter

from trainables.metrics import NonFiniteEvaluationError
from trainables.models import DamagedCheckpointError
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Status, Trial
from trainables.trial.ascent import Ascent, DivergedError
from trainables.trial.engine import Engine, Evaluated
from trainables.trial.profiling import TRACED_STEPS, TrialTrace
from trainables.trial.sinks import LeaderSink, TrialSink
from trainables.trial.stopping import ending, is_rung
from trainables.trial.stopwatch import Stopwatch

Clock = Callable[[], float]
"""A clock that never goes back, in seconds."""

SLICE_S = 5.0
"""Seconds of ascent after which ``TrialRun.advance`` returns, so that a trial can stop between evaluations."""


class TrialRun:
    """A trial in progress, started from its checkpoint where there is one.

    Its rows always include the base model's, of step 0. Where 0 is no step of the axis, that row is published with the
    others, and nothing is decided by it.

    Args:
        engine: the resident model.
        trial: the trial.
        sink: where its rows and checkpoints go.
        clock: in seconds; the leader's counts.

    Raises:
        UnlearningError: a setting of the trial is not allowed.
        ResultsError: rows or checkpoints cannot be read.
    """

    def __init__(self, engine: Engine, trial: Trial, sink: TrialSink, *, clock: Clock = time.monotonic) -> None:
        self._engine = engine
        self._trial = trial
        self._sink = LeaderSink(sink, engine.group)
        self._clock = partial(engine.group.broadcast_result, clock)
        self._stopwatch = Stopwatch()
        self._trace = TrialTrace(is_wanted=trial.is_profiled, keep=partial(self._sink.save_trace, trial.trial_id))
        self._ascent = self._start_ascent()
        self._evaluations, examples = self._sink.published(trial.trial_id)
        committed = {evaluation.step for evaluation in self._evaluations}
        self._examples = [example for example in examples if example.step in committed]  # examples are published first
        self._elapsed_before_s = self._evaluations[-1].elapsed_s if self._evaluations else 0.0
        self._may_have_ended = bool(self._on_axis)
        """Whether the last evaluation of an earlier process may have ended the trial, and only the outcome was lost."""
        self.outcome: Outcome | None = None
        """How the trial ended; None: it has not."""
        self.rung: int | None = None
        """The rung that the trial has reached, at which its driver judges it before the next slice; None: no rung."""
        self.warning: str | None = None
        """What went wrong on the way and was repaired, and what the user should know; None: nothing."""
        with self._stopwatch.counting("evaluate_s"):
            self._base = None if 0 in committed else engine.evaluate_base(trial.forget_set)
        """The base model's evaluation; None: an earlier process has published it, or a metric is not finite."""
        if self._base is not None and 0 not in trial.steps:
            self._add(*self._base)
        self._restore()
        self._started = self._last_checkpoint = self._clock()
        self._checkpoint_step = self._ascent.step

    def _restore(self) -> None:
        """Go on from the checkpoint; without a usable one, from the base model, which leads to the same numbers."""
        try:
            with self._stopwatch.counting("checkpoint_s"):
                payload = self._sink.load_checkpoint(self._trial.trial_id)
                if payload is None:
                    return
                progress = self._ascent.unpack(payload)
        except DamagedCheckpointError as error:
            self._start_again(f"its checkpoint is damaged ({error})")
            return
        steps = self._steps_to_evaluate()
        if steps and progress.step > steps[0]:
            self._start_again(f"its checkpoint is of step {progress.step}, and step {steps[0]} has no rows")
            return
        self._elapsed_before_s = max(self._elapsed_before_s, progress.elapsed_s)
        self._stopwatch.add(progress.times)

    def _start_ascent(self) -> Ascent:
        with self._stopwatch.counting("reset_s"):
            return self._engine.start(self._trial)

    def _start_again(self, reason: str) -> None:
        self._sink.discard_checkpoint(self._trial.trial_id)
        self._ascent = self._start_ascent()
        self.warning = f"trial {self._trial.trial_id}: {reason}; it starts again from the base model"

    def _steps_to_evaluate(self) -> list[int]:
        """List the values of the step axis that are not evaluated yet."""
        done = {evaluation.step for evaluation in self._evaluations}
        return [step for step in self._trial.steps if step not in done]

    def _add(self, evaluation: EvaluationRecord, examples: list[ExampleRecord]) -> None:
        self._evaluations = sorted([*self._evaluations, evaluation], key=attrgetter("step"))
        self._examples = sorted([*self._examples, *examples], key=attrgetter("step"))

    @property
    def _on_axis(self) -> list[EvaluationRecord]:
        """Every evaluation so far, without the base model's where 0 is no step of the axis."""
        return [evaluation for evaluation in self._evaluations if evaluation.step > 0 or 0 in self._trial.steps]

    @property
    def step(self) -> int:
        """Steps that have been taken, including those before an interruption."""
        return self._ascent.step

    @property
    def evaluations(self) -> list[EvaluationRecord]:
        """Every evaluation so far, in step order, including the base model's and those before an interruption."""
        return list(self._evaluations)

    @property
    def elapsed_s(self) -> float:
        """Seconds spent on this trial, including those before an interruption."""
        return self._elapsed_before_s + self._clock() - self._started

    def advance(self) -> EvaluationRecord | None:
        """Go on to the next value of the step axis and publish its evaluation.

        The outcome is published with the evaluation that ends the trial. Where the sink asks to stop, the trial is
        interrupted instead (``interrupt``).

        Returns:
            The evaluation. None: the trial ended without one, or the step is still ahead: this returns after a
            checkpoint and after every ``SLICE_S`` of ascent, so that the caller can look up.

        Raises:
            ResultsError: rows, a checkpoint or a trace cannot be kept.
        """
        if self._sink.stopping():
            self.interrupt()
            return None
        with self._trace.slice():
            evaluation = self._advance()
        if self.outcome is not None or self.step >= TRACED_STEPS:
            self._trace.end()
        return evaluation

    def _advance(self) -> EvaluationRecord | None:
        steps = self._steps_to_evaluate()
        if self._stands_still(steps):
            return None
        try:
            if not self._ascend_towards(steps[0]):
                return None
            evaluation, examples = self._evaluate()
        except (DivergedError, NonFiniteEvaluationError) as error:
            self._finish(Status.DIVERGED, str(error))
            return None
        self._add(evaluation, examples)
        if end := self._ending(steps[1:]):
            self._finish(*end)
        else:
            with self._stopwatch.counting("commit_s"):
                self._sink.publish(
                    self._trial.trial_id, self._evaluations, self._examples, None, meanwhile=self._step_ahead
                )
            self._note_rung(evaluation.step)
            if self._checkpoint_is_due():
                self.checkpoint(meanwhile=self._step_ahead)
        return evaluation

    def _stands_still(self, steps: list[int]) -> bool:
        """Return whether this slice takes no step: the trial has ended, or has to be judged at a rung first."""
        if self.rung is not None:
            self.rung = None
            reason = self._sink.verdict(self._trial.trial_id)
            if reason is not None:
                self._finish(Status.COMPLETED, reason)
        elif self._may_have_ended:
            self._may_have_ended = False
            if end := self._ending(steps):
                self._finish(*end)
            else:
                self._note_rung(self._on_axis[-1].step)
        return self.outcome is not None or self.rung is not None

    def _note_rung(self, step: int) -> None:
        if is_rung(self._engine.workload.stop, step):
            self.rung = step

    def _ascend_towards(self, step: int) -> bool:
        """Ascend for one slice at most, and return whether ``step`` is reached."""
        assert self._ascent.step <= step
        slice_end = self._clock() + SLICE_S
        while self._ascent.step < step:
            if self._checkpoint_is_due():
                self.checkpoint(meanwhile=self._step_ahead)
                return False
            self._take_step()
            if self._clock() >= slice_end:
                return self._ascent.step == step
        return True

    def _step_ahead(self) -> bool:
        """Take a step towards the next evaluation, and return whether there was one to take.

        None is taken beyond a rung, nor where a checkpoint is due. A step that diverges is left to the next slice.
        """
        step = self._ascent.step
        if is_rung(self._engine.workload.stop, step) or self._checkpoint_is_due() or step in self._steps_to_evaluate():
            return False
        try:
            self._take_step()
        except DivergedError:
            return False
        return True

    def _take_step(self) -> None:
        with self._stopwatch.counting("step_s"):
            self._ascent.advance(self._ascent.step + 1)

    def _checkpoint_is_due(self) -> bool:
        every = self._engine.workload.checkpoint
        steps = self._ascent.step - self._checkpoint_step
        return steps > 0 and (
            self._clock() - self._last_checkpoint >= every.every_s
            or (every.every_steps is not None and steps >= every.every_steps)
        )

    def checkpoint(self, *, meanwhile: Callable[[], bool] = lambda: False) -> None:
        """Save the trajectory as it is now, and call ``meanwhile`` as ``LeaderSink`` does."""
        with self._stopwatch.counting("checkpoint_s"):
            payload = self._ascent.pack(self.elapsed_s, self._stopwatch.seconds)
            self._checkpoint_step, self._last_checkpoint = self._ascent.step, self._clock()
            self._sink.save_checkpoint(self._trial.trial_id, payload, meanwhile=meanwhile)

    def interrupt(self) -> None:
        """Stop an unfinished trial: save a checkpoint, and publish the status ``stopped``."""
        if self.outcome is None:
            self.checkpoint()
            self._publish_outcome(Status.STOPPED, "interrupted; resume continues from its checkpoint")
            self._trace.end()

    def _ending(self, steps: list[int]) -> tuple[Status, str | None] | None:
        """Return how the trial ends with its last evaluation, and why early, if so; None: it goes on to ``steps``."""
        workload = self._engine.workload
        floor = workload.evaluation_sets[self._trial.forget_set].max_heldout_nll
        return ending(workload.stop, self._on_axis, max_heldout_nll=floor, is_complete=not steps)

    def _finish(self, status: Status, message: str | None = None) -> None:
        if status is Status.COMPLETED and self._ascent.step == self._evaluations[-1].step:
            message = self._with_movement(message)
        keeps = status is Status.COMPLETED and self._keep_last_state()
        self._publish_outcome(status, message)
        if not keeps:
            self._sink.discard_checkpoint(self._trial.trial_id)

    def _with_movement(self, message: str | None) -> str | None:
        """Add to the message of an outcome that hardly any weight has moved, if so, and warn of it."""
        hardly_moved = self._ascent.movement_warning()
        if hardly_moved is None:
            return message
        self.warning = "; ".join(filter(None, [self.warning, f"trial {self._trial.trial_id}: {hardly_moved}"]))
        return "; ".join(filter(None, [message, hardly_moved]))

    def _keep_last_state(self) -> bool:
        """Save the last state, for a longer step axis to go on from, and return whether it was small enough to keep."""
        limit = self._engine.workload.checkpoint.keep_mib * 2**20
        if self._trial.horizon is not None or self._ascent.state_bytes > limit:
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
            times=self._stopwatch.seconds,
        )
        self._sink.publish(self._trial.trial_id, self._evaluations, self._examples, self.outcome)

    def _evaluate(self) -> Evaluated:
        if self._ascent.step == 0 and self._base is not None:
            return self._base
        with self._stopwatch.counting("evaluate_s"), self._ascent.evaluated_model() as model:
            return self._engine.evaluate(
                model,
                self._trial.forget_set,
                step=self._ascent.step,
                tokens_seen=self._ascent.tokens_seen,
                elapsed_s=self.elapsed_s,
            )
