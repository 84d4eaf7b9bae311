"""Run a sweep, or go on with one: check what is there, prepare models, run the trials, stop in good order."""

import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import ray
from ray import tune

from orchestrator import provenance
from orchestrator.changes import Changes, compare
from orchestrator.chat_date import day_of_creation, fix_chat_date
from orchestrator.errors import BudgetSpentError, LedgerWarning, RunStoppedError, SweepError, SweepExistsError
from orchestrator.inputs import SweepInputs
from orchestrator.interrupt import Interrupt, catch_signals
from orchestrator.journal import export_journal
from orchestrator.lease import Lease, lease
from orchestrator.ledger import SPEC, Ledger
from orchestrator.model_cache import ModelCache
from orchestrator.plain import command
from orchestrator.preparation import (
    Baseline,
    start_building,
    train_missing,
)
from orchestrator.ray_session import capacity, fetch, offered_gpus, ray_session, workers_hardware
from orchestrator.readiness import require_ready
from orchestrator.rivals import TrialLedger
from orchestrator.run_options import RunOptions
from orchestrator.schema import BASELINES
from orchestrator.search import SweepSearch
from orchestrator.shared_storage import require_shared
from orchestrator.sharing import measure, share_devices
from orchestrator.spec import ResourcesConfig, SweepSpec, dump_spec, stored_spec
from orchestrator.storage import Storage, open_storage
from orchestrator.tuning import TrialEvents, run_trials
from trainables.deferred import Deferred
from trainables.forget_sets import Datasets
from trainables.ray_single import AscentTrainable

_wide_trainable: Callable[..., Any] = Deferred("trainables.ray_multi", "wide_trainable")  # loads Ray Train


class Events(TrialEvents, Protocol):
    """What a run tells whoever watches it."""

    def preparing(self, roles: list[str]) -> None:
        """Say which models are needed."""

    def model_ready(self, role: str) -> None:
        """Say that a model was trained, or found in the cache."""

    def shared(self, how: str) -> None:
        """Say how many trials share a device, and why, where that was measured."""

    def sweeping(self, *, total: int | None, ended: int, concurrent: int) -> None:
        """Say that trials start: how many there are (None: until the budget is spent), how many ended in an earlier
        run, how many run at once."""


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
        SweepExistsError: it exists and is not finished, and ``resume`` is not asked for.
        SweepError: it exists with other settings, data, models or code; another process drives it; or it does not fit
            the cluster.
        RunStoppedError: the disk or the object store failed, a worker died that prepares it, something was waited for
            too long, or the sweep was taken over; what was committed stands.
        SweepInterruptedError: a signal came; everything evaluated is committed.
    """
    options = options or RunOptions()
    root = open_storage(storage)
    ledger = Ledger(storage=open_storage(f"{root.uri}/{spec.name}"), sweep=spec.name)
    spec = fix_chat_date(spec, ledger)
    inputs = SweepInputs.of(spec, chat_date=day_of_creation(ledger))
    interrupt = Interrupt()
    with catch_signals(interrupt), lease(ledger.storage, spec.name, interrupt, take_over=options.take_over) as held:
        ledger = replace(ledger, driver=held.number)
        changes = _changes(ledger, inputs)
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
        require_ready(inputs)
        _Run(spec, root, ledger, inputs, search, events, interrupt, held).to_the_end(workers=workers, changes=changes)
        ledger.merge()
        _raise_if_stopped(interrupt)
    return _summary(search, ledger, was_finished=False)


def _changes(ledger: Ledger, inputs: SweepInputs) -> Changes | None:
    """Compare the sweep with what it would go on with; None: there is no sweep yet."""
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

    def to_the_end(self, *, workers: int | None, changes: Changes | None) -> None:
        resources, search = self.spec.resources, self.search
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
            described = provenance.session(workers_hardware())
            if changes:
                described["changes"] = asdict(changes)
            self.ledger.create(dump_spec(self.spec), self.inputs.manifest(), described)
            self.lease.needs(SPEC)
            for trial_id in search.superseded:
                self.ledger.give_up(trial_id, "the sweep went on with another model, other data or another space")
            workload = self._prepare()
            if resources.concurrent_trials == "auto":
                resources = self._share(workload)
                concurrent = capacity().at_once(resources, asked=workers)
            if len(_machines()) != machines:  # an autoscaler has started those that trials run on
                self.ledger.note({"workers": workers_hardware()})
            search.run_at_once(concurrent, gpus_per_trial=resources.gpus_per_trial)
            self.events.sweeping(total=search.total, ended=len(search.statuses), concurrent=concurrent)
            run_trials(
                self._trainable(workload),
                search,
                name=self.spec.name,
                resources=resources,
                concurrent=concurrent,
                events=self.events,
                interrupt=self.interrupt,
                lease=self.lease,
            )
            if not isinstance(self.interrupt.reason, RunStoppedError | SweepError):
                self.lease.renew()  # it may be lost, or the sweep gone
                export_journal(self.ledger.storage, search.strata)
            _raise_if_stopped(self.interrupt)

    def _prepare(self) -> Any:
        """Train what the cache lacks, measure what the models know, and give the reference of what the trials share."""
        spec, inputs = self.inputs.dated, self.inputs
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
            wait=lambda tasks: wait(list(tasks), f"the models {', '.join(task.role for task in tasks.values())}"),
        )
        workload, measuring = start_building(
            spec, inputs.datasets, inputs.tasks, cache, self.ledger, tokens=inputs.tokens_hash
        )
        baselines = fetch(wait([measuring], "what the models know"), "measuring what the models know")
        self.ledger.publish_baselines([_baseline_row(baseline) for baseline in baselines])
        self.ledger.publish_forget_examples(_forget_example_rows(inputs.datasets))
        return workload

    def _share(self, workload: Any) -> ResourcesConfig:
        """Measure what one trial takes, and set how many share a GPU, or a machine's memory."""
        wait = self._waiting(self.spec.resources.training_limit_s)
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
        if resources.workers_per_trial == 1:
            return tune.with_parameters(AscentTrainable, workload=workload, results=TrialLedger.of(self.ledger))
        return _wide_trainable(
            workload,
            TrialLedger.of(self.ledger),
            workers=resources.workers_per_trial,
            worker_resources=resources.worker_resources,
        )

    def _waiting(self, limit_s: float) -> Callable[[list[Any], str], Any]:
        """Make a wait for the first of some Ray references that a signal can end, and time does."""

        def wait(references: list[Any], what: str) -> Any:
            deadline = time.monotonic() + limit_s
            while time.monotonic() < deadline:
                self.interrupt.raise_if_set()
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
