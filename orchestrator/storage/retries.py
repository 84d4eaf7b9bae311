"""Retry requests to an object store after transient errors, up to a bound.

The loop is tenacity's, around every fsspec filesystem alike: botocore's own retries cover S3 alone.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from orchestrator.errors import StorageError
from orchestrator.storage.store_errors import is_missing_bucket, is_transient, reason

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often and for how long requests are retried. Picklable."""

    attempts: int = 10
    limit_s: float = 120.0
    """Seconds after the first attempt began, after which no other begins."""
    first_wait_s: float = 0.25
    """Seconds before the second attempt; each further wait is twice as long."""
    longest_wait_s: float = 20.0
    """The longest wait between two attempts, in seconds."""
    request_s: float = 20.0
    """Seconds without an answer after which an attempt counts as failed."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def call(
        self, request: Callable[[], Answer], place: str, doing: str, answers: tuple[type[Exception], ...] = ()
    ) -> Answer:
        """Send a request until it succeeds.

        Args:
            request: sends it once.
            place: where the request goes, for messages.
            doing: what it does, for messages.
            answers: errors that are a valid answer; they are raised as they are.

        Raises:
            StorageError: the store refused the request, or the last attempt failed too.
        """
        begun = self.clock()

        def is_over(state: RetryCallState) -> bool:
            next_s = self.clock() - begun + state.upcoming_sleep
            return state.attempt_number >= self.attempts or next_s > self.limit_s

        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            stop=is_over,
            wait=self._wait,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(request)
        except Exception as error:
            if isinstance(error, answers) and not is_missing_bucket(error):
                raise
            attempts = retrying.statistics["attempt_number"]
            tried = f" (tried {attempts} times in {self.clock() - begun:.1f} s)" if attempts > 1 else ""
            raise StorageError(f"{place}: cannot {doing}: {reason(error)}{tried}") from error

    def _wait(self, state: RetryCallState) -> float:
        """Return half to all of the doubled wait. The system's randomness leaves seeded generators alone."""
        doubled = wait_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s)(state)
        return random.SystemRandom().uniform(doubled / 2, doubled)
