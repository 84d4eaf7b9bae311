"""Run a sweep, or go on with one: check what is there, prepare models, run the trials, stop in good order."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, cast

import ray
from ray import tune

from orchestrator.driver import Interrupt, Lease, catch_signals, lease
from orchestrator.errors import (
    BudgetSpentError,
    LedgerWarning,
    RunStoppedError,
    SweepError,
    SweepExistsError,
    TaskFailedError,
)
from orchestrator.ledger import BASELINES, PREPARATION, SPEC, Ledger
from orchestrator.preparation import (
    Baseline,
    Examined,
    Memorized,
    ModelCache,
    ModelTask,
    SweepInputs,
    memorized,
    provenance,
    require_something_to_unlearn,
    require_sound,
    start_building,
    train_missing,
)
from orchestrator.resources import (
    capacity,
    fetch,
    measure,
    offered_gpus,
    ray_session,
    require_shared,
    share_devices,
    starts_here,
    workers_hardware,
)
from orchestrator.run.failures import Failures
from orchestrator.run.options import RunOptions
from orchestrator.run.tuning import TrialEvents, run_trials
from orchestrator.safe_text import command
from orchestrator.search import SweepSearch, TrialLedger, export_journal
from orchestrator.spec import (
    Changes,
    ResourcesConfig,
    SweepSpec,
    compare,
    day_of_creation,
    dump_spec,
    keep_chat_date,
    stored_spec,
)
from orchestrator.storage import Storage, masked, open_storage
from trainables.data import Datasets
from trainables.deferred import Deferred
from trainables.errors import UnlearningError
from trainables.preparation import REPORTED_EVERY_S as TRAINING_TOLD_EVERY_S
from trainables.preparation import TrainingState
from trainables.tune import AscentTrainable

_examine = Deferred("orchestrator.preparation", "examine")
_wide_trainable: Callable[..., Any] = Deferred("trainables.tune", "wide_trainable")  # loads Ray Train


class Events(TrialEvents, Protocol):
    """What a run tells whoever watches it, who may leave out what is of no interest: see ``Told``."""

    def doing(self, what: str) -> None:
        """Say what goes on now, of which nothing else is told."""

    def training(self, states: Mapping[str, TrainingState]) -> None:
        """Say how far the models are that are being trained, by role."""

    def memorized(self, found: Sequence[Memorized]) -> None:
        """Say what the base model has memorized of each forget set."""

    def preparing(self, roles: list[str]) -> None:
        """Say which models are needed."""

    def model_ready(self, role: str) -> None:
        """Say that a model was trained, or found in the cache."""

    def shared(self, how: str) -> None:
        """Say how many trials share a device, and why, where that was measured."""

    def sweeping(self, *, total: int | None, ended: int, concurrent: int) -> None:
        """Say that trials start: how many there are (None: until the budget is spent), how many ended in an earlier
        run, how many run at once."""


class Told:
    """Passes on to whoever watches a run what they have a method for."""

    def __init__(self, watching: Any) -> None:
        self._watching = watching

    def __getattr__(self, name: str) -> Callable[..., None]:
        tell: Callable[..., None] = getattr(self._watching, name, lambda *_, **__: None)
        return tell


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run ended."""

    sweep: str
    uri: str
    trials: int
    statuses: dict[str, int]
    was_finished: bool
    """True: there was nothing left to do."""
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

    Raises:
        SweepExistsError: it has begun and is not finished, and ``resume`` is not asked for.
        SweepError: it exists with other settings, data, models or code; another process drives it; it does not fit
            the cluster; or there is nothing to unlearn.
        RunStoppedError: the disk or the object store failed, a worker died that prepares it, something was waited for
            too long, or the sweep was taken over; what was committed stands.
        SweepInterruptedError: a signal came; everything evaluated is committed.
    """
    options, events = options or RunOptions(), cast(Events, Told(events))
    root = open_storage(storage)
    ledger = Ledger(storage=open_storage(f"{root.uri}/{spec.name}"), sweep=spec.name)
    interrupt = Interrupt()
    with catch_signals(interrupt), lease(ledger.storage, spec.name, interrupt, take_over=options.take_over) as held:
        ledger = replace(ledger, driver=held.number)
        spec = keep_chat_date(spec, ledger)
        ready = None  # of a new sweep a worker reads the data: it has PyTorch already
        if (exists := ledger.has_begun()) or not starts_here():
            events.doing("reading the data and the tokenizer")
            ready = _read_here(spec, ledger, options, exists=exists)
            interrupt.raise_if_set()
            if ready.is_finished:
                return _summary(ready.search, ledger, was_finished=True)
        is_written = ledger.spec_text() is not None
        _write(spec, ledger, ready)  # whatever becomes of Ray
        events.doing("starting Ray")
        interrupt.waits_for = "Ray to start, which takes seconds, at most two minutes"
        session = ray_session(
            spec.resources,
            workers=workers,
            on_loss=interrupt.stop,
            last_words=f"stopped; go on with: {command('resume', ledger.storage.uri)}",
        )
        try:
            with session, catch_signals(interrupt):  # once more: ray.init puts a SIGTERM handler of its own in place
                if ready is None:
                    interrupt.waits_for = "Ray to end, which takes seconds"
                    events.doing("reading the data and the tokenizer")
                    ready = _read_by_a_worker(spec, ledger, interrupt, withdraws=not is_written)
                held.needs(SPEC)
                inputs = ready.examined.inputs
                run = _Run(
                    inputs.spec,
                    root,
                    ledger,
                    inputs,
                    ready.search,
                    events,
                    interrupt,
                    held,
                    force=options.force,
                    training_flops=ready.examined.training_flops,
                )
                run.to_the_end(workers=workers)
        except TaskFailedError as error:
            raise _with_log(ledger, error) from None
        ledger.merge()
        _raise_if_stopped(interrupt)
    return _summary(ready.search, ledger, was_finished=False)


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A sweep that may run: its data is read, and nothing is wrong with it."""

    examined: Examined
    search: SweepSearch
    changes: Changes | None = None
    """To what was begun; None: it is new."""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.changes is not None and self.search.is_exhausted()


def _read_here(spec: SweepSpec, ledger: Ledger, options: RunOptions, *, exists: bool) -> _Ready:
    """Read a sweep's data in this process, compare it with what was begun, if it ``exists``, and check it.

    Raises:
        SweepError: it may not go on; as ``run_sweep``.
        UnlearningError: the data cannot be used.
    """
    examined = _examine(spec, is_new=not exists, chat_date=day_of_creation(ledger))
    changes = _changes(ledger, examined.inputs) if exists else None
    if changes is not None:
        changes.require_allowed(ledger.storage.uri, force=options.force)
    ready = _Ready(examined=examined, search=_search(examined.inputs, ledger, options), changes=changes)
    if ready.is_finished:
        return ready
    if changes is not None and not options.resume:
        raise _exists(ledger, ready.search, changes)
    require_sound(examined, exists=exists)
    return ready


def _search(inputs: SweepInputs, ledger: Ledger, options: RunOptions | None = None) -> SweepSearch:
    """Put the ledger's files in order, and rebuild the search from them."""
    ledger.storage.remove_leftovers()
    ledger.repair()
    if options is not None and options.retry_failed and options.resume:
        ledger.reopen_failed()
    return SweepSearch(inputs.spec, ledger, workload_hash=inputs.workload_hash, concurrent_trials=1)


def _write(spec: SweepSpec, ledger: Ledger, ready: _Ready | None) -> None:
    """Write what the sweep is, and this session of it. Of one whose data is not read yet, what it leaves open stays
    so."""
    session = provenance.session([])
    if ready is None:
        ledger.create(dump_spec(spec, every_default=False), provenance.outline(spec), session)
        return
    if ready.changes:
        session["changes"] = asdict(ready.changes)
    inputs = ready.examined.inputs
    ledger.create(dump_spec(inputs.spec), inputs.manifest(), session)


def _read_by_a_worker(spec: SweepSpec, ledger: Ledger, interrupt: Interrupt, *, withdraws: bool) -> _Ready:
    """Have the data of a new sweep read and checked by a worker of this machine, and write what it settles.

    Args:
        spec: of the sweep.
        ledger: which has been written without it.
        interrupt: what ends the wait.
        withdraws: take back what was written where the sweep cannot be: before this session it was not there.

    Raises:
        SweepError, UnlearningError: it cannot be.
    """
    wait = _waiting(interrupt, spec.resources.training_limit_s)
    task = ray.remote(num_cpus=0)(_examine.as_function())
    try:
        reading = wait([task.remote(spec, is_new=True)], "the data to be read")
        examined: Examined = fetch(reading, "reading the data")
        require_sound(examined)
    except (SweepError, UnlearningError):
        if withdraws:
            ledger.withdraw()
        raise
    ledger.describe(dump_spec(examined.inputs.spec), examined.inputs.manifest())
    return _Ready(examined=examined, search=_search(examined.inputs, ledger))


def _with_log(ledger: Ledger, error: TaskFailedError) -> RunStoppedError:
    """Keep in the sweep what a failed task has said, and say where it is."""
    try:
        ledger.add_to_log(
            PREPARATION, masked(f"{ledger.now().isoformat(timespec='seconds')}\n{error}\n\n{error.details}\n")
        )
    except RunStoppedError:  # the storage may be why it failed
        return RunStoppedError(masked(f"{error}\n{error.details}"))
    return RunStoppedError(
        f"{masked(str(error))}\nthe whole of it: {command('logs', ledger.storage.uri, '--trial', PREPARATION)}"
    )


def _changes(ledger: Ledger, inputs: SweepInputs) -> Changes | None:
    """Compare the sweep with what it would go on with; None: there is no sweep."""
    if ledger.spec_text() is None:
        return None
    recorded = ledger.manifest()
    last = provenance.last_session(recorded)
    other_versions = provenance.version_notes(last.get("packages", {}), provenance.package_versions())
    if other_versions:
        warnings.warn(
            f"{ledger.storage.uri}: {'; '.join(other_versions)}; the last digits of new rows may differ",
            LedgerWarning,
            stacklevel=2,
        )
    present = {**inputs.manifest(), "code": provenance.code_state()}
    return compare(stored_spec(ledger), inputs.spec, {**recorded, "code": last.get("code")}, present)


def _exists(ledger: Ledger, search: SweepSearch, changes: Changes) -> SweepExistsError:
    there = f"sweep '{ledger.sweep}' is at {ledger.storage.uri}: {len(search.statuses)} of {_many(search)} trials ended"
    if changes.additions:
        added = "".join(f"\n  {line}" for line in changes.additions)
        return SweepExistsError(
            f"{there}; this spec adds to it:{added}\nadd --resume to go on with that, or choose another --name"
        )
    return SweepExistsError(
        f"{there}\ngo on with it: add --resume, or run: {command('resume', ledger.storage.uri)}\n"
        f"or choose another --name"
    )


def _many(search: SweepSearch) -> str:
    return "as many as the budget allows" if search.total is None else str(search.total)


@dataclass
class _Run:
    """One session of a sweep, with the right to drive it."""

    spec: SweepSpec
    root: Storage
    ledger: Ledger
    inputs: SweepInputs
    search: SweepSearch
    events: Events
    interrupt: Interrupt
    lease: Lease
    force: bool = False
    """Go on where there is nothing to unlearn."""
    training_flops: float | None = None
    """Of all models; None: it is not known."""

    def to_the_end(self, *, workers: int | None) -> None:
        """Prepare the models, then run the trials, within a Ray session."""
        resources, search = self.spec.resources, self.search
        if len(ray.nodes()) > 1:
            require_shared(self.root)
        machines = len(_machines())
        concurrent = capacity().at_once(resources, asked=workers or resources.concurrent_limit)
        self.ledger.note({"workers": workers_hardware()})
        for trial_id in search.superseded:
            self.ledger.give_up(trial_id, "the sweep went on with another model, other data or another space")
        workload = self._prepare()
        if resources.concurrent_trials == "auto":
            resources = self._share(workload)
            concurrent = capacity().at_once(resources, asked=workers)
        if len(_machines()) != machines:  # an autoscaler has started those that trials run on
            self.ledger.note({"workers": workers_hardware()})
        self.interrupt.waits_for = (
            f"the running trials to save where they are, at most {resources.stop_grace_s:.0f} s "
            f"(resources.stop_grace_s)"
        )
        search.run_at_once(concurrent, gpus_per_trial=resources.gpus_per_trial)
        self.events.sweeping(total=search.total, ended=len(search.statuses), concurrent=concurrent)
        run_trials(
            self._trainable(workload),
            search,
            Failures(self.ledger),
            name=self.spec.name,
            resources=resources,
            concurrent=concurrent,
            events=self.events,
            interrupt=self.interrupt,
            lease=self.lease,
        )
        if not isinstance(self.interrupt.reason, RunStoppedError | SweepError):
            self.lease.renew()  # it may be lost, or the sweep gone
            export_journal(self.ledger.storage, search.studies)
        _raise_if_stopped(self.interrupt)

    def _prepare(self) -> Any:
        """Train what the cache lacks, measure what the models know, and give the reference of what the trials share."""
        spec, inputs = self.inputs.dated, self.inputs
        self.interrupt.waits_for = "Ray to end, which takes seconds; a model in training goes on from its checkpoint"
        self.events.preparing([task.role for task in inputs.tasks])
        wait = _waiting(self.interrupt, spec.resources.training_limit_s)
        cache = ModelCache(self.root)
        train_missing(
            spec,
            inputs.datasets,
            inputs.tasks,
            cache,
            self.ledger,
            tokens=inputs.tokens_hash,
            flops=self.training_flops,
            on_trained=self.events.model_ready,
            wait=lambda groups: wait(
                list(groups),
                f"the models {', '.join(task.role for group in groups.values() for task in group)}",
                self._watching(cache, [task for group in groups.values() for task in group]),
            ),
        )
        self.events.doing("measuring what the models know")
        workload, measuring = start_building(
            spec, inputs.datasets, inputs.tasks, cache, self.ledger, tokens=inputs.tokens_hash
        )
        baselines = fetch(wait([measuring], "what the models know"), "measuring what the models know")
        rows = [_baseline_row(baseline) for baseline in baselines]
        self.ledger.publish_baselines(rows)
        self.ledger.publish_forget_examples(_forget_example_rows(inputs.datasets))
        self._look_for_something_to_unlearn(rows)
        return workload

    def _look_for_something_to_unlearn(self, baselines: list[dict[str, Any]]) -> None:
        """Tell what the base model has memorized.

        Raises:
            NothingToUnlearnError: that is nothing, of a sweep that has no trial yet and is not forced.
        """
        sets = self.inputs.datasets.forget_sets
        found = memorized(baselines, {name: (len(own.forget), len(own.population)) for name, own in sets.items()})
        self.events.memorized(found)
        if not self.force and not self.search.has_trials:
            require_something_to_unlearn(found, self.spec, self.ledger.storage.uri)

    def _watching(self, cache: ModelCache, tasks: Sequence[ModelTask]) -> Callable[[], None]:
        """Make what tells, every few seconds, how far the models in training are."""
        last = time.monotonic()

        def look() -> None:
            nonlocal last
            if time.monotonic() - last >= TRAINING_TOLD_EVERY_S:
                states = {task.role: cache.training_state(task.key) for task in tasks}
                self.events.training({role: state for role, state in states.items() if state is not None})
                last = time.monotonic()

        return look

    def _share(self, workload: Any) -> ResourcesConfig:
        """Measure what one trial takes, and set how many share a GPU, or a machine's memory."""
        wait = _waiting(self.interrupt, self.spec.resources.training_limit_s)
        self.events.doing("measuring what memory a trial takes")
        measuring = wait([measure(self.spec, workload)], "what memory a trial takes")
        resources, sharing = share_devices(
            self.spec.resources,
            fetch(measuring, "measuring what memory a trial takes"),
            nodes=_machines(),
            gpus=offered_gpus(),
        )
        self.ledger.note({"sharing": sharing.as_json()})
        self.events.shared(str(sharing))
        return resources

    def _trainable(self, workload: Any) -> Any:
        """Give what runs one trial: in one resident actor, or on several workers."""
        resources = self.spec.resources
        results = TrialLedger.of(self.ledger, self.spec, self.inputs.workload_hash)
        if resources.workers_per_trial == 1:
            return tune.with_parameters(AscentTrainable, workload=workload, sink=results)
        return _wide_trainable(
            workload,
            results,
            workers=resources.workers_per_trial,
            worker_resources=resources.worker_resources,
        )


def _waiting(interrupt: Interrupt, limit_s: float) -> Callable[..., Any]:
    """Make a wait for the first of some Ray references that a signal can end, and time does."""

    def wait(references: list[Any], what: str, look: Callable[[], None] = lambda: None) -> Any:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            interrupt.raise_if_set()
            look()
            done, _ = ray.wait(references, timeout=0.5)
            if done:
                return done[0]
        raise RunStoppedError(
            f"waited {limit_s:.0f} s (resources.training_limit_s) for {what}; see whether the cluster has a worker "
            f"for them ('ray status'), and raise the limit if they need longer"
        )

    return wait


def _raise_if_stopped(interrupt: Interrupt) -> None:
    """Leave a run that was stopped; one whose budget is spent has ended as it should."""
    if not isinstance(interrupt.reason, BudgetSpentError):
        interrupt.raise_if_set()


def _machines() -> list[dict[str, float]]:
    """List what each machine that is there has, by Ray's names."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _baseline_row(baseline: Baseline) -> dict[str, Any]:
    row = {"model": baseline.model, "forget_set": baseline.forget_set, **baseline.metrics}
    return {name: row.get(name) for name in BASELINES.names}


def _forget_example_rows(datasets: Datasets) -> list[dict[str, Any]]:
    return [
        {
            "forget_set": name,
            "example_id": example.example_id,
            "prompt": example.prompt,
            "completion": example.completion,
            "repetitions": repetitions,
        }
        for name, forget_set in datasets.forget_sets.items()
        for example, repetitions in zip(forget_set.forget, forget_set.repetitions, strict=True)
    ]


def _summary(search: SweepSearch, ledger: Ledger, *, was_finished: bool) -> RunSummary:
    return RunSummary(
        sweep=ledger.sweep,
        uri=ledger.storage.uri,
        trials=len(search.statuses),
        statuses=dict(Counter(status.value for status in search.statuses.values())),
        was_finished=was_finished,
        spent_budget=tuple(search.spent_budget()),
    )
