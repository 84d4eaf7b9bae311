"""How long steps of a sweep's model take on this machine, timed with random weights and tokens."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from orchestrator.plan.evaluated_examples import examples_scored, known_sizes
from orchestrator.plan.set_summaries import TypicalLengths
from orchestrator.plan.timing import BudgetedTimer, StepWork, cost_of
from orchestrator.spec import SweepSpec
from trainables.data import Sizes
from trainables.encoding import EncodedSet, collate
from trainables.metrics import chosen_metrics, score_batch, score_set
from trainables.models import add_adapters, enable_gradient_checkpointing, is_encoder_decoder, random_model
from trainables.objectives import OBJECTIVES

_ASSUMED = TypicalLengths(training=24, forget=24, scored=24)
"""Tokens of an example, if the data is not tokenized."""


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Seconds that one worker, alone on its device, takes for its share of a trial."""

    device: str
    """``cpu``, or the name of this machine's GPU."""
    training_step_s: float
    """A step of training a base or reference model."""
    ascent_step_s: float
    """A step over the largest batch that trials may have, with as many passes as any of their objectives makes: over an
    equally large batch of retained examples, over alternate answers, and through the frozen base model."""
    evaluation_s: float
    """An evaluation, on average over the forget sets."""
    cut_short: bool = False
    """Whether whole batches took too long to be timed: the times are estimated from parts of them."""
    spread: float | None = None
    """How far repeated timings were from each other, as a share of their median; None: nothing was timed twice."""


def time_steps(
    spec: SweepSpec,
    lengths: TypicalLengths | None = None,
    *,
    sizes: Sizes,
    encoded: Mapping[str, EncodedSet] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> StepTimes:
    """Time the spec's model: the median of three, after a warm-up, on the GPU if this machine has one.

    If the model is too slow for that, only as many examples are timed as ``timing.MEASURING_LIMIT_S`` allows.

    Args:
        spec: the spec of the sweep.
        lengths: lengths of its examples; None: they are assumed.
        sizes: sizes of its sets.
        encoded: its tokenized sets (``SweepInputs.encoded``); None: other answers that evaluations score are not
            counted, since it is not known how many there are.
        clock: returns seconds that only grow.

    Raises:
        UnlearningError: the model cannot be built.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(spec.resources.threads_per_trial)
    try:
        known = known_sizes(spec, sizes) | {where: len(own) for where, own in (encoded or {}).items()}
        return _Probe(spec, lengths or _ASSUMED, sizes, examples_scored(spec, known), clock).times()
    finally:
        torch.set_num_threads(threads)


class _Probe:
    """A model with random weights that takes the steps of a sweep to be timed."""

    def __init__(
        self, spec: SweepSpec, lengths: TypicalLengths, sizes: Sizes, scored: float, clock: Callable[[], float]
    ) -> None:
        self._spec = spec
        self._scored = scored
        self._lengths = lengths
        self._sizes = sizes
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = random_model(spec.model, tokenizer=_ProbeTokenizer(spec.model.vocab_size), seed=0)
        if spec.model.lora is not None:
            model = add_adapters(model, spec.model.lora, seed=0)
        if spec.model.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        self._encoder_decoder = is_encoder_decoder(spec.model)
        self._model = model.to(self._device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-9)
        self._timer = BudgetedTimer(clock, synchronize=self._synchronize)
        self._reads = frozenset().union(*(chosen.metric.reads for chosen in chosen_metrics(spec.evaluation)))

    def times(self) -> StepTimes:
        """Return the times of all kinds of steps."""
        spec = self._spec
        workers = spec.resources.workers_per_trial
        configs = spec.corner_configs
        largest = max(configs, key=lambda config: config.batch_size)
        passes = max((OBJECTIVES[c.objective].passes(c.objective_settings) for c in configs), key=cost_of)
        sizes = self._sizes
        biggest = max(sizes.forget_sets.values(), key=lambda s: s.forget + s.population + s.distractors)
        batch = -(-min(largest.batch_size, biggest.forget) // workers)
        evaluated = -(-round(self._scored) // workers)
        some = min(evaluated, spec.evaluation.batch_size)
        lengths = self._lengths
        device = "cpu" if self._device.type == "cpu" else torch.cuda.get_device_name(self._device)
        # casts are not kept from step to step: in trials each forward pass begins with casts of its own
        reduced = torch.autocast(
            self._device.type, torch.bfloat16, enabled=spec.model.precision == "bf16", cache_enabled=False
        )
        with reduced:  # first, since it is the cheapest, and shows how time grows with a batch
            evaluation_s = self._timer.evaluation_s(
                partial(self._evaluate, lengths.scored), some, tokens=lengths.scored
            )
        training_s = self._timer.step_s(
            partial(self._step, lengths.training),
            StepWork(examples=spec.preparation.batch_size, tokens=lengths.training, cost=cost_of((1, 0))),
            share=0.5,
        )
        micro_batch_size = largest.micro_batch_size
        with reduced:
            ascent_s = self._timer.step_s(
                partial(self._step, lengths.forget, micro_batch_size=micro_batch_size, passes=passes),
                StepWork(
                    examples=batch, tokens=lengths.forget, cost=cost_of(passes), micro_batch_size=micro_batch_size
                ),
                share=1.0,
            )
        return StepTimes(
            device=device,
            training_step_s=training_s,
            ascent_step_s=ascent_s,
            evaluation_s=evaluation_s * evaluated / some,
            cut_short=self._timer.cut_short,
            spread=self._timer.spread,
        )

    def _step(
        self, tokens: int, examples: int, *, micro_batch_size: int | None = None, passes: tuple[int, int] = (1, 0)
    ) -> None:
        trained, of_reference = passes
        self._model.train()
        encoded = self._random_set(examples, tokens)
        for part in np.array_split(np.arange(examples), -(-examples // (micro_batch_size or examples))):
            batch = collate(encoded, part, device=self._device)
            with torch.no_grad():
                for _ in range(of_reference):
                    score_batch(self._model, batch)
            torch.autograd.backward([score_batch(self._model, batch).nll_per_token() for _ in range(trained)])
        self._timer.update_s = self._timer.seconds(self._optimizer.step)
        self._optimizer.zero_grad(set_to_none=True)

    def _evaluate(self, tokens: int, examples: int) -> None:
        self._model.eval()
        score_set(
            self._model,
            self._random_set(examples, tokens),
            batch_size=self._spec.evaluation.batch_size,
            reads=self._reads,
        )

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

    def _synchronize(self) -> None:
        if self._device.type == "cuda":  # a GPU is still working when the call has returned
            torch.cuda.synchronize(self._device)


class _ProbeTokenizer:
    """The part of a tokenizer that building a model needs."""

    bos_token_id, pad_token_id, eos_token_id = 0, 1, 2

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size
