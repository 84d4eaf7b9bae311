"""A resident model that trials are run on, one after another: started from the base weights, and evaluated.

It is written once for any number of workers: a reused Ray Tune actor has one, or each worker of a Ray Train group.
"""

from functools import cached_property
from typing import Any

import torch

from trainables.distributed import build_accelerator, current_worker_group, share_model
from trainables.metrics import NonFiniteEvaluationError, evaluate
from trainables.models import FrozenBase, enable_gradient_checkpointing
from trainables.objectives import OBJECTIVES, check_objective
from trainables.records import EvaluationRecord, ExampleRecord, Trial
from trainables.trial.ascent import Ascent
from trainables.trial.batch_plan import AscentData
from trainables.trial.workload import Workload

Evaluated = tuple[EvaluationRecord, list[ExampleRecord]]
"""One evaluation, and its examples."""


class Engine:
    """A model that stays on this process's device, for all the trials that a worker runs one after another."""

    def __init__(self, workload: Workload, *, of_base: dict[str, Evaluated | None] | None = None) -> None:
        """Build the model.

        Args:
            workload: what the trials share.
            of_base: what earlier engines of this workload have found of the base model, which is added to; None:
                nothing.
        """
        self.workload = workload
        self.group = current_worker_group()
        self.accelerator = build_accelerator(workload.precision, workload.parallelism, use_gpu=workload.use_gpu)
        torch.set_num_threads(workload.threads)  # after Accelerate, which has a number of its own for CPUs
        model = workload.base.build()
        if workload.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        self.model = share_model(self.accelerator, model)
        self._of_base: dict[str, Evaluated | None] = {} if of_base is None else of_base
        """The base model's evaluation by forget set; None: a metric is not finite."""

    @cached_property
    def frozen_base(self) -> FrozenBase:
        """The frozen base model, made for the first objective that compares with it; it stays for those that follow."""
        return FrozenBase(self.accelerator, self.accelerator.unwrap_model(self.model), self.workload.base)

    def start(self, trial: Trial) -> Ascent:
        """Put the base weights back and start a trajectory; nothing of an earlier trial is left.

        Raises:
            UnlearningError: the objective, the optimizer, or a setting of theirs is unknown or not allowed.
        """
        config, workload = trial.config, self.workload
        check_objective(config.objective, config.objective_settings, compat=config.compat)
        objective = OBJECTIVES[config.objective]
        self.accelerator.free_memory()
        workload.base.restore(self.accelerator.unwrap_model(self.model))
        return Ascent(
            accelerator=self.accelerator,
            group=self.group,
            model=self.model,
            base=workload.base,
            frozen_base=self.frozen_base if objective.uses_base(config.objective_settings) else None,
            data=AscentData(
                forget=workload.evaluation_sets[trial.forget_set].forget,
                retain=workload.retain,
                alternates=workload.alternates.get(trial.forget_set) if objective.needs_alternate else None,
            ),
            config=config,
            seed=trial.ascent_seed,
            horizon=trial.horizon,
        )

    def evaluate(
        self, model: Any, forget_set: str, *, step: int, tokens_seen: int = 0, elapsed_s: float = 0.0
    ) -> Evaluated:
        """Evaluate a model, which this engine holds, on the sets of a forget set.

        Raises:
            NonFiniteEvaluationError: a metric is not finite.
        """
        return evaluate(
            model,
            self.workload.evaluation_sets[forget_set],
            batch_size=self.workload.evaluation.batch_size,
            step=step,
            tokens_seen=tokens_seen,
            elapsed_s=elapsed_s,
            group=self.group,
        )

    def evaluate_base(self, forget_set: str) -> Evaluated | None:
        """Evaluate the base model as the trials of a forget set are evaluated, once for all of them.

        Call it where the model has the base weights: right after ``start``. None: a metric is not finite.
        """
        if forget_set not in self._of_base:
            try:
                self._of_base[forget_set] = self.evaluate(self.model, forget_set, step=0)
            except NonFiniteEvaluationError:
                self._of_base[forget_set] = None
        return self._of_base[forget_set]
