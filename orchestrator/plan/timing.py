"""Timing work on batches within a time limit: what would take too long is timed in part, and estimated from it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

MEASURING_LIMIT_S = 15.0
"""Seconds that all timing may take. Work that has begun is finished; nothing is loaded or downloaded."""


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """The passes that one optimizer step computes."""

    examples: int
    tokens: int
    """Tokens of each example."""
    cost: int
    """Cost of its passes in forward passes: see ``cost_of``."""
    micro_batch_size: int | None = None


def cost_of(passes: tuple[int, int]) -> int:
    """Return the cost of (training passes, reference passes) in forward passes.

    A forward pass with its backward pass takes about three times as long as the forward pass alone.
    """
    trained, of_reference = passes
    return 3 * trained + of_reference


@dataclass(frozen=True, kw_only=True)
class _ForwardPass:
    """The time of a forward pass."""

    fixed_s: float = 0.0
    """Seconds of every pass, however few tokens it has."""
    token_s: float = 0.0
    """Seconds that each token adds."""

    def seconds(self, work: StepWork, examples: int) -> float:
        """Return the time of forward passes over some of a step's examples, micro-batch by micro-batch."""
        passes = -(-examples // (work.micro_batch_size or examples))
        return passes * self.fixed_s + examples * work.tokens * self.token_s


class BudgetedTimer:
    """Times evaluations and steps within ``MEASURING_LIMIT_S``, which begins when it is made."""

    def __init__(self, clock: Callable[[], float], *, synchronize: Callable[[], None]) -> None:
        """Start the limit.

        Args:
            clock: returns seconds that only grow.
            synchronize: waits until the device has finished its work.
        """
        self._clock = clock
        self._synchronize = synchronize
        self._deadline = clock() + MEASURING_LIMIT_S
        self._forward = _ForwardPass()
        self._step_to_forward = 1.0  # time of a step's passes, relative to their cost times the forward pass
        self.update_s = 0.0
        """Seconds of the last update of the weights, set by the step: it takes as long for any number of examples."""
        self.cut_short = False
        """Whether some work was timed in part."""
        self.spread: float | None = None
        """Largest range of what was timed three times, as a share of its median; None: nothing was."""

    def seconds(self, work: Callable[[], None]) -> float:
        """Return the time of some work."""
        self._synchronize()
        start = self._clock()
        work()
        self._synchronize()
        return self._clock() - start

    def evaluation_s(self, work: Callable[[int], None], examples: int, *, tokens: int) -> float:
        """Return the time of forward passes over some examples. If that takes too long, it is estimated from fewer.

        The time of a forward pass is kept, for estimates of steps.

        Args:
            work: computes forward passes over a number of examples.
            examples: number of examples.
            tokens: tokens of each example.
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
        self.cut_short |= some < examples
        more_s = one_s if some == 1 else max(0.0, some_s - one_s) / (some - 1)
        self._forward = _ForwardPass(fixed_s=max(0.0, one_s - more_s), token_s=more_s / tokens)
        return some_s + more_s * (examples - some)

    def _fitting(self, some: int, some_s: float, examples: int, ends: float) -> int:
        """Return the number of examples that there is time for, if time grows no faster than their number."""
        return min(examples, int((ends - self._clock()) * some / some_s))

    def step_s(self, step: Callable[[int], None], work: StepWork, *, share: float) -> float:
        """Return the time of a step. If that takes too long, it is estimated from a step over fewer examples.

        The passes of a step grow with its examples as a forward pass does: the weights are read once for all examples,
        which is most of the time of one short example. The update takes as long for any number of examples.

        Args:
            step: takes a step over a number of examples, and sets ``update_s``.
            work: what the step computes.
            share: the share of the remaining time to use.
        """
        ends = self._clock() + share * self._left_s()
        if self._estimated_s(work, 1) > self._left_s():
            self.cut_short = True
            return self._estimated_s(work, work.examples)
        one_s = self._timed_s(step, 1)
        if one_s <= ends - self._clock():
            one_s = self._timed_s(step, 1)  # the first had to warm up
        self._learn_from(one_s, work, 1)
        spare_s = ends - self._clock()
        if 4 * self._estimated_s(work, work.examples) <= spare_s:
            return self._median_s(step, work.examples)
        fitting = (some for some in range(work.examples, 1, -1) if self._estimated_s(work, some) <= spare_s)
        some = next(fitting, 1)
        if some > 1:
            self._learn_from(self._timed_s(step, some), work, some)
        self.cut_short |= some < work.examples
        return self._estimated_s(work, work.examples)

    def _estimated_s(self, work: StepWork, examples: int) -> float:
        return self.update_s + self._step_to_forward * work.cost * self._forward.seconds(work, examples)

    def _learn_from(self, step_s: float, work: StepWork, examples: int) -> None:
        expected_s = work.cost * self._forward.seconds(work, examples)
        self._step_to_forward = max(0.0, step_s - self.update_s) / expected_s if expected_s else 1.0

    def _left_s(self) -> float:
        return self._deadline - self._clock()

    def _median_s(self, work: Callable[[int], None], examples: int) -> float:
        work(examples)
        least_s, median_s, most_s = sorted(self._timed_s(work, examples) for _ in range(3))
        self.spread = max(self.spread or 0.0, (most_s - least_s) / median_s) if median_s else self.spread
        return median_s

    def _timed_s(self, work: Callable[[int], None], examples: int) -> float:
        return self.seconds(partial(work, examples))
