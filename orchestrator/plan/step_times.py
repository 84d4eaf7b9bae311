"""How long a step of a sweep's model takes on this machine, timed on random weights and tokens."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from orchestrator.plan.set_summaries import TypicalLengths
from orchestrator.spec import SweepSpec
from trainables.data import Sizes, sizes_of
from trainables.encoding import EncodedSet, collate
from trainables.metrics import score_batch, score_set
from trainables.models import add_adapters, is_encoder_decoder, random_model, recompute_activations
from trainables.objectives import OBJECTIVES

_ASSUMED = TypicalLengths(training=24, forget=24, scored=24)
"""Tokens of a probe example, where the data is not tokenized."""
MEASURING_LIMIT_S = 15.0
"""Seconds that all timing may take. A step that has begun is finished; nothing is loaded or downloaded."""


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
    cut_short: bool = False
    """Whether whole batches took too long to be timed (``MEASURING_LIMIT_S``): the times follow from parts of them."""


def time_steps(
    spec: SweepSpec,
    lengths: TypicalLengths | None = None,
    *,
    sizes: Sizes | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> StepTimes:
    """Time the spec's model: the median of three, after a warm-up, on the GPU if this machine has one.

    Of a model that is too slow for that, as many examples of a batch are timed as ``MEASURING_LIMIT_S`` allows.

    Args:
        spec: of the sweep.
        lengths: how long its examples are; None: that is assumed.
        sizes: of its sets; None: they are counted.
        clock: gives seconds that only grow.

    Raises:
        UnlearningError: the model cannot be built.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(spec.resources.threads_per_trial)
    try:
        return _Probe(spec, lengths or _ASSUMED, sizes, clock).times()
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What a step computes."""

    examples: int
    tokens: int
    """Of each example."""
    cost: int
    """Of its passes, as ``_cost`` weighs them."""
    micro_batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class _ForwardPass:
    """How long a forward pass takes."""

    fixed_s: float = 0.0
    """However few tokens it has."""
    token_s: float = 0.0
    """Each token, besides."""

    def seconds(self, work: _Work, examples: int) -> float:
        """Return what passes over so many examples of a step's take, micro-batch by micro-batch."""
        passes = -(-examples // (work.micro_batch_size or examples))
        return passes * self.fixed_s + examples * work.tokens * self.token_s


class _Probe:
    def __init__(
        self, spec: SweepSpec, lengths: TypicalLengths, sizes: Sizes | None, clock: Callable[[], float]
    ) -> None:
        self._spec = spec
        self._lengths = lengths
        self._sizes = sizes
        self._clock = clock
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = random_model(spec.model, tokenizer=_ProbeTokenizer(spec.model.vocab_size), seed=0)
        if spec.model.lora is not None:
            model = add_adapters(model, spec.model.lora, seed=0)
        if spec.model.gradient_checkpointing:
            recompute_activations(model)
        self._encoder_decoder = is_encoder_decoder(spec.model)
        self._model = model.to(self._device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-9)
        self._deadline = clock() + MEASURING_LIMIT_S
        self._forward = _ForwardPass()
        self._step_to_forward = 1.0  # what a step's passes take, by what their cost and the forward pass lead to expect
        self._update_s = 0.0  # of the weights, in the last step: however many examples it had
        self._cut_short = False

    def times(self) -> StepTimes:
        spec = self._spec
        workers = spec.resources.workers_per_trial
        configs = spec.corner_configs
        largest = max(configs, key=lambda config: config.batch_size)
        passes = max((OBJECTIVES[c.objective].passes(c.objective_settings) for c in configs), key=_cost)
        sizes = self._sizes or sizes_of(spec.data, encoder_decoder=lambda: self._encoder_decoder)
        biggest = max(sizes.forget_sets.values(), key=lambda s: s.forget + s.population + s.distractors)
        batch = -(-min(largest.batch_size, biggest.forget) // workers)
        own_kind = [s.forget + s.population + s.distractors for s in sizes.forget_sets.values()]
        scored = round(sum(own_kind) / len(own_kind)) + sizes.heldout + spec.data.retain_evaluation
        evaluated = -(-scored // workers)
        some = min(evaluated, spec.evaluation.batch_size)
        lengths = self._lengths
        device = "cpu" if self._device.type == "cpu" else torch.cuda.get_device_name(self._device)
        reduced = torch.autocast(self._device.type, torch.bfloat16, enabled=spec.model.precision == "bf16")
        with reduced:  # first: it is the cheapest, and shows how time grows with a batch
            evaluation_s = self._evaluation_s(partial(self._evaluate, lengths.scored), some, tokens=lengths.scored)
        training_s = self._step_s(
            partial(self._step, lengths.training),
            _Work(examples=spec.preparation.batch_size, tokens=lengths.training, cost=_cost((1, 0))),
            share=0.5,
        )
        micro_batch_size = largest.micro_batch_size
        with reduced:
            ascent_s = self._step_s(
                partial(self._step, lengths.forget, micro_batch_size=micro_batch_size, passes=passes),
                _Work(examples=batch, tokens=lengths.forget, cost=_cost(passes), micro_batch_size=micro_batch_size),
                share=1.0,
            )
        return StepTimes(
            device=device,
            training_step_s=training_s,
            ascent_step_s=ascent_s,
            evaluation_s=evaluation_s * evaluated / some,
            cut_short=self._cut_short,
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
        self._finish_what_was_started()
        start = self._clock()
        self._optimizer.step()
        self._finish_what_was_started()
        self._update_s = self._clock() - start
        self._optimizer.zero_grad(set_to_none=True)

    def _evaluate(self, tokens: int, examples: int) -> None:
        self._model.eval()
        score_set(self._model, self._random_set(examples, tokens), batch_size=self._spec.evaluation.batch_size)

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

    def _evaluation_s(self, work: Callable[[int], None], examples: int, *, tokens: int) -> float:
        """Time forward passes over so many examples; where that takes too long, over some of them, and reckon.

        What is found of a forward pass is what steps are reckoned by.
        """
        ends = self._clock() + self._left_s() / 2
        one_s = self._timed_s(work, 1)
        if 3 * one_s <= ends - self._clock():  # and two examples after it
            one_s = self._timed_s(work, 1)  # the first had to warm up
        some, some_s = 1, one_s
        if 4 * one_s * examples <= ends - self._clock():
            some, some_s = examples, self._median_s(work, examples)
        while (fitting := self._fitting(some, some_s, examples, ends)) >= 2 * some or some < fitting == examples:
            some, some_s = fitting, self._timed_s(work, fitting)
        self._cut_short |= some < examples
        more_s = one_s if some == 1 else max(0.0, some_s - one_s) / (some - 1)
        self._forward = _ForwardPass(fixed_s=max(0.0, one_s - more_s), token_s=more_s / tokens)
        return some_s + more_s * (examples - some)

    def _fitting(self, some: int, some_s: float, examples: int, ends: float) -> int:
        """Count the examples that there is time for, if time grows no faster than their number."""
        return min(examples, int((ends - self._clock()) * some / some_s))

    def _step_s(self, step: Callable[[int], None], work: _Work, *, share: float) -> float:
        """Time a step; where it takes too long, one over some of its examples, and reckon.

        The passes of a step grow with its examples as a forward pass does: the weights are read once for all of them,
        which is most of what one short example takes. The update takes as long for any number of examples.

        Args:
            step: takes a number of examples.
            work: what it computes.
            share: of the time that is left.
        """
        ends = self._clock() + share * self._left_s()
        if self._reckoned_s(work, 1) > self._left_s():
            self._cut_short = True
            return self._reckoned_s(work, work.examples)
        one_s = self._timed_s(step, 1)
        if one_s <= ends - self._clock():
            one_s = self._timed_s(step, 1)  # the first had to warm up
        self._learn_from(one_s, work, 1)
        spare_s = ends - self._clock()
        if 4 * self._reckoned_s(work, work.examples) <= spare_s:
            return self._median_s(step, work.examples)
        fitting = (some for some in range(work.examples, 1, -1) if self._reckoned_s(work, some) <= spare_s)
        some = next(fitting, 1)
        if some > 1:
            self._learn_from(self._timed_s(step, some), work, some)
        self._cut_short |= some < work.examples
        return self._reckoned_s(work, work.examples)

    def _reckoned_s(self, work: _Work, examples: int) -> float:
        return self._update_s + self._step_to_forward * work.cost * self._forward.seconds(work, examples)

    def _learn_from(self, step_s: float, work: _Work, examples: int) -> None:
        expected_s = work.cost * self._forward.seconds(work, examples)
        self._step_to_forward = max(0.0, step_s - self._update_s) / expected_s if expected_s else 1.0

    def _left_s(self) -> float:
        return self._deadline - self._clock()

    def _median_s(self, work: Callable[[int], None], examples: int) -> float:
        work(examples)
        return sorted(self._timed_s(work, examples) for _ in range(3))[1]

    def _timed_s(self, work: Callable[[int], None], examples: int) -> float:
        self._finish_what_was_started()
        start = self._clock()
        work(examples)
        self._finish_what_was_started()
        return self._clock() - start

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
