"""Run a sweep, or go on with one: check what is there, prepare models, run the trials, stop in good order."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, cast

import ray
from ray import tune

from orchestrator import provenance
from orchestrator.changes import Changes, compare
from orchestrator.chat_date import day_of_creation, fix_chat_date
from orchestrator.errors import (
    BudgetSpentError,
    LedgerWarning,
    RunStoppedError,
    SweepError,
    SweepExistsError,
    TaskFailedError,
)
from orchestrator.failures import Failures
from orchestrator.inputs import SweepInputs
from orchestrator.interrupt import Interrupt, catch_signals
from orchestrator.journal import export_journal
from orchestrator.lease import Lease, lease
from orchestrator.ledger import PREPARATION, SPEC, Ledger
from orchestrator.memorized import Memorized, memorized, require_something_to_unlearn
from orchestrator.model_cache import ModelCache
from orchestrator.plain import command
from orchestrator.preparation import (
    Baseline,
    ModelTask,
    start_building,
    train_missing,
)
from orchestrator.ray_session import capacity, fetch, offered_gpus, ray_session, workers_hardware
from orchestrator.readiness import require_ready
from orchestrator.rivals import TrialLedger
from orchestrator.run_options import RunOptions
from orchestrator.schema import BASELINES
from orchestrator.search import SweepSearch
from orchestrator.secret_uris import masked
from orchestrator.shared_storage import require_shared
from orchestrator.sharing import measure, share_devices
from orchestrator.spec import ResourcesConfig, SweepSpec, dump_spec, stored_spec
from orchestrator.storage import Storage, open_storage
from orchestrator.tuning import TrialEvents, run_trials
from trainables.deferred import Deferred
from trainables.forget_sets import Datasets
from trainables.ray_single import AscentTrainable
from trainables.training_state import TOLD_EVERY_S as TRAINING_TOLD_EVERY_S
from trainables.training_state import TrainingState

_wide_trainable: Callable[..., Any] = Deferred("trainables.ray_multi", "wide_trainable")  # loads Ray Train


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
    events.doing("reading the data and the tokenizer")
    root = open_storage(storage)
    ledger = Ledger(storage=open_storage(f"{root.uri}/{spec.name}"), sweep=spec.name)
    spec = fix_chat_date(spec, ledger)
    inputs = SweepInputs.of(spec, chat_date=day_of_creation(ledger))
    spec = inputs.spec
    interrupt = Interrupt()
    with catch_signals(interrupt), lease(ledger.storage, spec.name, interrupt, take_over=options.take_over) as held:
        ledger = replace(ledger, driver=held.number)
        changes = _changes(ledger, inputs) if ledger.has_begun() else None
        if changes is not None:
            changes.require_allowed(ledger.storage.uri, force=options.force)
        ledger.storage.remove_leftovers()
        ledger.mend()
        if options.retry_failed and options.resume:
            ledger.reopen_failed()
        search = SweepSearch(spec, ledger, workload_hash=inputs.workload_hash, concurrent_trials=1)
        interrupt.raise_if_set()
        if changes is not None and search.is_exhausted():
            return _summary(search, ledger, was_finished=True)
        if changes is not None and not options.resume:
            raise _exists(ledger, search, changes)
        require_ready(inputs, exists=changes is not None)
        session = _Run(spec, root, ledger, inputs, search, events, interrupt, held, force=options.force)
        try:
            session.to_the_end(workers=workers, changes=changes)
        except TaskFailedError as error:
            raise _with_log(ledger, error) from None
        ledger.merge()
        _raise_if_stopped(interrupt)
    return _summary(search, ledger, was_finished=False)


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

    def to_the_end(self, *, workers: int | None, changes: Changes | None) -> None:
        resources, search = self.spec.resources, self.search
        described = provenance.session([])
        if changes:
            described["changes"] = asdict(changes)
        self.ledger.create(dump_spec(self.spec), self.inputs.manifest(), described)  # whatever becomes of Ray
        self.lease.needs(SPEC)
        self.events.doing("starting Ray")
        self.interrupt.waits_for = "Ray to start, which takes seconds, at most two minutes"
        session = ray_session(
            resources,
            workers=workers,
            on_loss=self.interrupt.stop,
            last_words=f"stopped; go on with: {command('resume', self.ledger.storage.uri)}",
        )
        with session, catch_signals(self.interrupt):  # once more: ray.init puts a SIGTERM handler of its own in place
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
        wait = self._waiting(spec.resources.training_limit_s)
        cache = ModelCache(self.root)
        train_missing(
            spec,
            inputs.datasets,
            inputs.tasks,
            cache,
            self.ledger,
            tokens=inputs.tokens_hash,
            on_trained=self.events.model_ready,
            wait=lambda tasks: wait(
                list(tasks),
                f"the models {', '.join(task.role for task in tasks.values())}",
                self._watching(cache, tasks),
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

    def _watching(self, cache: ModelCache, tasks: Mapping[Any, ModelTask]) -> Callable[[], None]:
        """Make what tells, every few seconds, how far the models in training are."""
        last = time.monotonic()

        def look() -> None:
            nonlocal last
            if time.monotonic() - last >= TRAINING_TOLD_EVERY_S:
                states = {task.role: cache.training_state(task.key) for task in tasks.values()}
                self.events.training({role: state for role, state in states.items() if state is not None})
                last = time.monotonic()

        return look

    def _share(self, workload: Any) -> ResourcesConfig:
        """Measure what one trial takes, and set how many share a GPU, or a machine's memory."""
        wait = self._waiting(self.spec.resources.training_limit_s)
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
            return tune.with_parameters(AscentTrainable, workload=workload, results=results)
        return _wide_trainable(
            workload,
            results,
            workers=resources.workers_per_trial,
            worker_resources=resources.worker_resources,
        )

    def _waiting(self, limit_s: float) -> Callable[..., Any]:
        """Make a wait for the first of some Ray references that a signal can end, and time does."""

        def wait(references: list[Any], what: str, look: Callable[[], None] = lambda: None) -> Any:
            deadline = time.monotonic() + limit_s
            while time.monotonic() < deadline:
                self.interrupt.raise_if_set()
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
