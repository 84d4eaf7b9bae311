"""Run a sweep, or go on with one: from its spec to a summary of how its trials ended."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from orchestrator.driver import Interrupt, catch_signals, lease
from orchestrator.ledger import PREPARATION, SPEC, DriverWriter, Ledger, failed_tasks_logged
from orchestrator.run.events import Events, PartialEvents
from orchestrator.run.executors.protocol import Executor
from orchestrator.run.matching import match_forget_sets
from orchestrator.run.options import ExecutorName, RunOptions
from orchestrator.run.session import Session, raise_if_stopped
from orchestrator.run.starting import read_by, read_here, write_down
from orchestrator.safe_text import command
from orchestrator.search import SweepSearch
from orchestrator.spec import SweepSpec, keep_chat_date, keep_repetitions
from orchestrator.storage import open_storage
from trainables.deferred import Deferred

EXECUTORS: dict[ExecutorName, Callable[[Interrupt], Executor]] = {
    ExecutorName.RAY: Deferred("orchestrator.run.executors.ray_executor", "RayExecutor"),
    ExecutorName.INLINE: Deferred("orchestrator.run.executors.inline", "InlineExecutor"),
}
"""What makes each executor, given the reason to stop. Ray is loaded by its own alone."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run ended."""

    sweep: str
    uri: str
    trials: int
    statuses: dict[str, int]
    """How many trials ended so, by status."""
    was_finished: bool
    """Whether there was nothing left to do."""
    spent_budget: tuple[str, ...] = ()
    """The limits of the budget that keep the sweep from going on, one sentence each."""


def run_sweep(
    spec: SweepSpec,
    *,
    storage: str,
    events: Events,
    workers: int | None = None,
    options: RunOptions | None = None,
) -> RunSummary:
    """Run a sweep to its end, or what is left of it.

    Args:
        spec: of the sweep.
        storage: the folder or URI that holds sweeps and models.
        events: told of what goes on; see ``PartialEvents``.
        workers: trials at once; None: as many as fit.
        options: how to go on with a sweep that exists, and the executor.

    Raises:
        SweepExistsError: the sweep has begun and is not finished, and ``resume`` is not asked for.
        SweepError: it exists with other settings, data or models; another process drives it; it does not fit
            the cluster, or the executor; or there is nothing to unlearn.
        RunStoppedError: the disk or the object store failed, a worker died that prepares it, something was waited for
            too long, or the sweep was taken over; what was committed stands.
        SweepInterruptedError: a signal came; everything evaluated is committed.
    """
    options, events = options or RunOptions(), cast(Events, PartialEvents(events))
    interrupt = Interrupt()
    executor = EXECUTORS[options.executor](interrupt)
    executor.require_able(spec.resources, workers=workers)
    root = open_storage(storage)
    ledger = Ledger(storage=open_storage(f"{root.uri}/{spec.name}"), sweep=spec.name)
    with catch_signals(interrupt), lease(ledger.storage, spec.name, interrupt, take_over=options.take_over) as held:
        ledger = replace(ledger, driver=held.number)
        spec = keep_repetitions(keep_chat_date(spec, ledger), ledger)
        ready = None  # the data of a new sweep may be read by a worker, which has PyTorch already
        if (exists := ledger.has_begun()) or not executor.reads_new_data:
            events.doing("reading the data and the tokenizer")
            ready = read_here(spec, ledger, options, exists=exists)
            interrupt.raise_if_set()
            if ready.is_finished:
                return _summary(ready.search, ledger, was_finished=True)
        is_written = ledger.manifest.spec_text() is not None
        write_down(spec, ledger, ready)  # whatever becomes of the executor
        last_words = f"stopped; go on with: {command('resume', ledger.storage.uri)}"
        started = executor.session(spec.resources, workers=workers, last_words=last_words, doing=events.doing)
        with failed_tasks_logged(ledger, PREPARATION), started:
            if ready is None:
                events.doing("reading the data and the tokenizer")
                ready = read_by(executor, spec, ledger, withdraws=not is_written)
            held.needs(SPEC)
            ready = match_forget_sets(ready, executor=executor, root=root, ledger=ledger, events=events)
            session = Session(
                spec=ready.checked.spec,
                root=root,
                ledger=ledger,
                replicates=ready.checked.replicates,
                search=ready.search,
                executor=executor,
                events=events,
                interrupt=interrupt,
                lease=held,
                force=options.force,
                profile=options.profile,
                training_flops=ready.checked.training_flops,
            )
            session.run(workers=workers)
        DriverWriter(ledger).merge()
        raise_if_stopped(interrupt)
    return _summary(ready.search, ledger, was_finished=False)


def _summary(search: SweepSearch, ledger: Ledger, *, was_finished: bool) -> RunSummary:
    return RunSummary(
        sweep=ledger.sweep,
        uri=ledger.storage.uri,
        trials=len(search.statuses),
        statuses=dict(Counter(status.value for status in search.statuses.values())),
        was_finished=was_finished,
        spent_budget=tuple(search.spent_budget()),
    )
