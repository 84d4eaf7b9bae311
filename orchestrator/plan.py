"""What a sweep will cost, before it runs: trials, steps, evaluations, and an estimate of the time."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from orchestrator.spec import SweepSpec, trial_config
from orchestrator.strata import Stratum
from search_spaces import corners, settings
from trainables.batching import EncodedSet, collate
from trainables.likelihood import score_batch, score_set
from trainables.models import new_model
from trainables.training import train_steps

_TYPICAL_TOKENS = 24
"""Tokens of a probe example; real lengths are known only once the data is tokenized."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep will do."""

    sweep: str
    strata: int
    trials_per_stratum: int
    trials: int
    models_to_train: int
    training_steps: int
    """Optimizer steps of preparation, all models."""
    step_values: int
    evaluations: int
    """At most: a trial that collapses or diverges has fewer."""
    ascent_steps: int
    """At most, with the step axis shared along each trajectory."""
    separate_run_ascent_steps: int
    """What the same evaluations would take as separate runs, one for each step value."""
    schedule_depends_on_total: bool
    concurrent_trials: int | None
    estimated_preparation_s: float | None
    estimated_sweep_s: float | None

    @property
    def saving(self) -> float:
        """How many times fewer ascent steps than separate runs."""
        return self.separate_run_ascent_steps / self.ascent_steps

    def as_json(self) -> dict[str, Any]:
        """Give plain data for ``--json``."""
        return {**asdict(self), "saving": self.saving}


def plan_sweep(spec: SweepSpec, *, concurrent_trials: int, estimate: bool = True) -> Plan:
    """Count what a sweep will do; with ``estimate``, time a training step and an evaluation on this machine.

    Raises:
        UnlearningError: the model cannot be built (only with ``estimate``).
    """
    names = [f"{name}/{seed}" for name in spec.data.forget_sets for seed in spec.seeds]
    per_stratum = Stratum(spec, "plan").budget
    trials = per_stratum * len(names)
    dependent = spec.looks_at_total
    alone = spec.search.sampler == "grid" and dependent == {True}
    points = [spec.steps[i % len(spec.steps)] for i in range(trials)] if alone else []
    ascent_steps = sum(points) if alone else trials * spec.steps[-1]
    evaluations = trials if dependent == {True} else trials * len(spec.steps)
    steps_each = train_steps(_training_examples(spec), spec.preparation)
    models = 1 + spec.preparation.references
    preparation_s = sweep_s = None
    if estimate:
        seconds = _probe(spec)
        rounds = -(-models // concurrent_trials)
        preparation_s = rounds * steps_each * seconds.training_step
        sweep_s = (ascent_steps * seconds.ascent_step + evaluations * seconds.evaluation) / concurrent_trials
    return Plan(
        sweep=spec.name,
        strata=len(names),
        trials_per_stratum=per_stratum,
        trials=trials,
        models_to_train=models,
        training_steps=models * steps_each,
        step_values=len(spec.steps),
        evaluations=evaluations,
        ascent_steps=ascent_steps,
        separate_run_ascent_steps=ascent_steps if dependent == {True} else trials * sum(spec.steps),
        schedule_depends_on_total=True in dependent,
        concurrent_trials=concurrent_trials,
        estimated_preparation_s=preparation_s,
        estimated_sweep_s=sweep_s,
    )


def _training_examples(spec: SweepSpec) -> int:
    return spec.data.retain + sum(s.distractors + s.size * s.repetitions for s in spec.data.forget_sets.values())


@dataclass(frozen=True, kw_only=True)
class _Seconds:
    training_step: float
    ascent_step: float
    evaluation: float


def _probe(spec: SweepSpec) -> _Seconds:
    """Time the spec's model on random tokens: the median of three, after a warm-up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(spec.resources.threads_per_trial)
    try:
        model = new_model(spec.model, tokenizer=_ProbeTokenizer(spec.model.vocab_size), seed=0)
        batch_size = max(trial_config(settings(spec.space, corner)).batch_size for corner in corners(spec.space))
        biggest = max(spec.data.forget_sets.values(), key=lambda s: s.size + s.population)
        scored = biggest.size + biggest.population + spec.data.heldout + spec.data.retain_evaluation
        length = min(_TYPICAL_TOKENS, spec.data.max_tokens)

        def step(examples: int) -> None:
            encoded = _random_set(examples, length)
            torch.autograd.backward(score_batch(model, collate(encoded, range(examples))).nll_per_token())
            model.zero_grad()

        evaluation = _random_set(min(scored, 4 * spec.evaluation.batch_size), length)
        return _Seconds(
            training_step=_median_s(lambda: step(spec.preparation.batch_size)),
            ascent_step=_median_s(lambda: step(min(batch_size, biggest.size))),
            evaluation=_median_s(lambda: score_set(model, evaluation, batch_size=spec.evaluation.batch_size))
            * scored / len(evaluation),
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)


class _ProbeTokenizer:
    """As much of a tokenizer as building a model needs."""

    bos_token_id, pad_token_id = 0, 1

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size


def _random_set(examples: int, length: int) -> EncodedSet:
    tokens = np.random.default_rng(0).integers(2, 250, size=examples * length)
    return EncodedSet(
        example_ids=tuple(map(str, range(examples))),
        tokens=tokens,
        offsets=np.arange(0, examples * length + 1, length),
        target_starts_N=np.ones(examples, dtype=np.int64),
        prefix_ends_N=np.ones(examples, dtype=np.int64),
    )


def _median_s(action: Any) -> float:
    action()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return sorted(times)[1]
