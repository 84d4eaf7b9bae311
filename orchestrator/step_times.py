"""How long a step of a sweep's model takes on this machine, timed on random tokens."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from orchestrator.set_summaries import TypicalLengths
from orchestrator.spec import SweepSpec
from trainables.adapters import add_adapters
from trainables.batching import EncodedSet, collate
from trainables.decks import sizes_of
from trainables.likelihood import score_batch, score_set
from trainables.models import is_encoder_decoder, new_model, recompute_activations
from trainables.objectives import OBJECTIVES

_ASSUMED = TypicalLengths(training=24, forget=24, scored=24)
"""Tokens of a probe example, where the data is not tokenized."""


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Seconds that one worker takes, alone on its device, for its share of a trial."""

    device: str
    """``cpu``, or the name of this machine's GPU."""
    training_step_s: float
    """Of base and reference models."""
    ascent_step_s: float
    """Of the largest batch that may come up, with as many passes as any objective makes: over as large a batch of
    retained examples, of alternate answers, and through the reference model."""
    evaluation_s: float
    """The mean over the forget sets."""


def time_steps(spec: SweepSpec, lengths: TypicalLengths | None = None) -> StepTimes:
    """Time the spec's model: the median of three, after a warm-up, on the GPU if this machine has one.

    Args:
        spec: of the sweep.
        lengths: how long its examples are; None: that is assumed.

    Raises:
        UnlearningError: the model cannot be built.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(spec.resources.threads_per_trial)
    try:
        return _Probe(spec, lengths or _ASSUMED).times()
    finally:
        torch.set_num_threads(threads)


class _Probe:
    def __init__(self, spec: SweepSpec, lengths: TypicalLengths) -> None:
        self._spec = spec
        self._lengths = lengths
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = new_model(spec.model, tokenizer=_ProbeTokenizer(spec.model.vocab_size), seed=0)
        if spec.model.lora is not None:
            model = add_adapters(model, spec.model.lora, seed=0)
        if spec.model.gradient_checkpointing:
            recompute_activations(model)
        self._encoder_decoder = is_encoder_decoder(spec.model)
        self._model = model.to(self._device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-9)

    def times(self) -> StepTimes:
        spec = self._spec
        workers = spec.resources.workers_per_trial
        configs = spec.corner_configs
        largest = max(configs, key=lambda config: config.batch_size)
        passes = max((OBJECTIVES[c.objective].passes(c.objective_weights) for c in configs), key=_cost)
        sizes = sizes_of(spec.data, encoder_decoder=lambda: self._encoder_decoder)
        biggest = max(sizes.forget_sets.values(), key=lambda s: s.forget + s.population + s.distractors)
        batch = -(-min(largest.batch_size, biggest.forget) // workers)
        own_kind = [s.forget + s.population + s.distractors for s in sizes.forget_sets.values()]
        scored = round(sum(own_kind) / len(own_kind)) + sizes.heldout + spec.data.retain_evaluation
        evaluated = -(-scored // workers)
        some = self._random_set(min(evaluated, spec.evaluation.batch_size), self._lengths.scored)
        trained = self._random_set(spec.preparation.batch_size, self._lengths.training)
        ascended = self._random_set(batch, self._lengths.forget)
        training_s = self._median_s(lambda: self._step(trained))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=spec.model.precision == "bf16"):
            return StepTimes(
                device="cpu" if self._device.type == "cpu" else torch.cuda.get_device_name(self._device),
                training_step_s=training_s,
                ascent_step_s=self._median_s(lambda: self._step(ascended, largest.micro_batch_size, passes)),
                evaluation_s=self._median_s(lambda: self._evaluate(some)) * evaluated / len(some),
            )  # fmt: skip

    def _step(self, encoded: EncodedSet, micro_batch_size: int | None = None, passes: tuple[int, int] = (1, 0)) -> None:
        trained, of_reference = passes
        self._model.train()
        examples = len(encoded)
        for part in np.array_split(np.arange(examples), -(-examples // (micro_batch_size or examples))):
            batch = collate(encoded, part, device=self._device)
            with torch.no_grad():
                for _ in range(of_reference):
                    score_batch(self._model, batch)
            torch.autograd.backward([score_batch(self._model, batch).nll_per_token() for _ in range(trained)])
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _evaluate(self, some: EncodedSet) -> None:
        self._model.eval()
        score_set(self._model, some, batch_size=self._spec.evaluation.batch_size)

    def _random_set(self, examples: int, typical_tokens: int) -> EncodedSet:
        length = max(2, min(typical_tokens, self._spec.data.max_tokens))
        tokens = np.random.default_rng(0).integers(2, 250, size=examples * length)
        return EncodedSet(
            example_ids=tuple(map(str, range(examples))),
            tokens=tokens,
            offsets=np.arange(0, examples * length + 1, length),
            target_starts_N=np.full(examples, length // 2 if self._encoder_decoder else 1),
            prefix_ends_N=np.ones(examples, dtype=np.int64),
            encoder_decoder=self._encoder_decoder,
        )

    def _median_s(self, action: Callable[[], Any]) -> float:
        action()
        return sorted(self._timed_s(action) for _ in range(3))[1]

    def _timed_s(self, action: Callable[[], Any]) -> float:
        self._finish_what_was_started()
        start = time.perf_counter()
        action()
        self._finish_what_was_started()
        return time.perf_counter() - start

    def _finish_what_was_started(self) -> None:
        if self._device.type == "cuda":  # a GPU works on after the call has returned
            torch.cuda.synchronize(self._device)


def _cost(passes: tuple[int, int]) -> int:
    """Weigh passes: forward and back takes about three times what forward alone does."""
    trained, of_reference = passes
    return 3 * trained + of_reference


class _ProbeTokenizer:
    """As much of a tokenizer as building a model needs."""

    bos_token_id, pad_token_id, eos_token_id = 0, 1, 2

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size
