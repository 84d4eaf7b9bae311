"""Probes as Ray tasks, one a model, on this machine or on a cluster, with what a trial of the sweep takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from orchestrator.driver import Interrupt, catch_signals
from orchestrator.errors import RunStoppedError, TaskFailedError
from orchestrator.points import models_of
from orchestrator.preparation import remote_on_a_share, train_missing
from orchestrator.probing.work import Outcomes, Work
from orchestrator.resources import capacity, fetch, first_done, ray_session, require_shared
from orchestrator.spec import ResourcesConfig
from trainables.deferred import Deferred

_prepare_start = Deferred("orchestrator.probing.measuring", "prepared_start")
_probe_model = Deferred("orchestrator.probing.measuring", "probe_model")

_FRESH_PROCESS = {"env_vars": {"UNLEARN_SWEEP_TASK": "probe"}}
"""Ray gives tasks of another environment processes of their own: those that trained models have another precision."""


class RayProber:
    """Does the work of probes by Ray."""

    def __init__(self, interrupt: Interrupt, report: Callable[[str], None]) -> None:
        self._interrupt = interrupt
        self._report = report

    @contextmanager
    def session(self, work: Work, *, last_words: str) -> Iterator[None]:
        """Start Ray, or connect to the cluster.

        Raises:
            SweepError: the cluster never holds what a trial takes, or one of its machines does not see the storage.
        """
        resources = work.inputs.spec.resources
        self._report("starting Ray")
        self._interrupt.waits_for = "Ray to start, which takes seconds, at most two minutes"
        started = ray_session(resources, workers=None, on_loss=self._interrupt.stop, last_words=last_words)
        with started, catch_signals(self._interrupt):  # once more: ray.init puts a SIGTERM handler of its own in place
            self._interrupt.waits_for = "Ray to end, which takes seconds; a probe that is not finished is done again"
            if len(ray.nodes()) > 1:
                require_shared(work.ledger.storage)
            capacity().at_once(resources, asked=1)
            yield

    def run(self, work: Work, outcomes: Outcomes) -> None:
        """See ``Prober``. A task whose worker dies is tried again, ``resources.max_failures`` times."""
        resources = work.inputs.spec.resources
        train_missing(
            [work.inputs],
            models_of(work.ledger),
            work.ledger,
            on_trained=lambda _: None,
            wait=lambda groups: self._next_of(list(groups), resources),
        )
        self._report("measuring base and reference models")
        inputs = ray.put(work.inputs.without_tokens())
        prepare = remote_on_a_share(_prepare_start, resources)
        # its result lives on a machine that may vanish any number of times; Ray rebuilds it
        start, prepared = prepare.options(num_returns=2, max_retries=-1, runtime_env=_FRESH_PROCESS).remote(
            work.ledger, inputs, work.forget_sets
        )
        fetch(self._next_of([prepared], resources), "measuring base and reference models")
        probe = remote_on_a_share(_probe_model, resources).options(runtime_env=_FRESH_PROCESS)
        pending = {probe.remote(job, inputs=inputs, start=start, ledger=work.ledger): job for job in work.jobs}
        while pending:
            reference = self._next_of(list(pending), resources)
            job = pending.pop(reference)
            try:
                without = fetch(reference, str(job))
            except TaskFailedError as error:
                work.ledger.fenced.require_lease()
                outcomes.failed(job, error)
            else:
                outcomes.done(job, without)

    def _next_of(self, references: list[Any], resources: ResourcesConfig) -> Any:
        """Wait for the first of some Ray references, which is returned; a signal ends the wait.

        Raises:
            RunStoppedError: it took longer than ``resources.training_limit_s``.
        """
        limit_s = resources.training_limit_s
        done = first_done(references, self._interrupt, limit_s=limit_s)
        if done is not None:
            return done
        raise RunStoppedError(
            f"waited {limit_s:.0f} s (resources.training_limit_s) for a model to be measured or probed; see whether "
            f"the cluster has a worker for it ('ray status'), and raise the limit if that takes longer"
        )
