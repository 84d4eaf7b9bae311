"""Build, run and continue a sweep: prepare models, hand the trials to Ray Tune, commit, stop in good order."""

import difflib
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig, Tuner

from orchestrator.errors import SweepError
from orchestrator.identity import canonical_json
from orchestrator.interrupt import Interrupt, catch_signals
from orchestrator.ledger import SPEC, Ledger
from orchestrator.preparation import (
    Baseline,
    ModelCache,
    build_workload,
    model_tasks,
    train_missing,
    workload_hash,
)
from orchestrator.provenance import manifest, session
from orchestrator.ray_session import concurrent_trials, ray_session, workers_hardware
from orchestrator.schema import BASELINES
from orchestrator.search import SweepSearch, TuneSearcher
from orchestrator.spec import SweepSpec, dump_spec, parse_yaml
from orchestrator.storage import open_storage
from trainables.forget_sets import Datasets, build_datasets
from trainables.ray_single import EVALUATION, TRIAL, AscentTrainable
from trainables.records import Status


class Events(Protocol):
    """What a run tells whoever watches it."""

    def preparing(self, roles: list[str]) -> None:
        """Say which models are needed."""

    def model_ready(self, role: str) -> None:
        """Say that a model was trained, or found in the cache."""

    def sweeping(self, *, total: int, ended: int, concurrent: int) -> None:
        """Say that trials start: how many there are, how many ended in an earlier run, how many run at once."""

    def evaluated(self, *, forget_set: str, evaluation: dict[str, Any]) -> None:
        """Report one committed evaluation."""

    def trial_ended(self, *, status: str) -> None:
        """Report one ended trial."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run ended."""

    sweep: str
    uri: str
    trials: int
    statuses: dict[str, int]
    was_finished: bool
    """True: there was nothing left to do."""


def run_sweep(
    spec: SweepSpec, *, storage: str, events: Events, workers: int | None = None, resume: bool = False
) -> RunSummary:
    """Run a sweep to its end, or what is left of it.

    Raises:
        SweepError: the sweep exists with another spec, or unfinished without ``resume``, or does not fit the cluster.
        SweepInterruptedError: a signal came; everything evaluated is committed.
    """
    root = open_storage(storage)
    ledger = Ledger(storage=root.child(spec.name), sweep=spec.name)
    exists = _check_existing(ledger, spec)
    if exists:
        ledger.mend()
    datasets = build_datasets(spec.data)
    tasks = model_tasks(spec, datasets)
    workload_id = workload_hash(spec, datasets, tasks)
    search = SweepSearch(spec, ledger, workload_hash=workload_id, concurrent_trials=1)
    if exists and search.is_exhausted():
        return _summary(search, ledger, was_finished=True)
    if exists and not resume:
        raise SweepError(
            f"sweep '{spec.name}' is at {ledger.storage.uri}: {len(search.statuses)} of {search.total} trials ended; "
            f"continue it with 'unlearn-sweep resume {ledger.storage.uri}', or choose another --name"
        )
    # in this order: ray.init puts a SIGTERM handler of its own in place
    with ray_session(spec.resources, workers=workers), catch_signals() as interrupt:
        concurrent = concurrent_trials(spec.resources, workers=workers)
        search = SweepSearch(spec, ledger, workload_hash=workload_id, concurrent_trials=concurrent)
        events.preparing([task.role for task in tasks])
        wait = _interruptible_wait(interrupt)
        models = train_missing(spec, datasets, tasks, ModelCache(root), on_trained=events.model_ready, wait=wait)
        measure = ray.remote(num_cpus=spec.resources.cpus_per_trial)(build_workload)
        workload, baselines = ray.get(wait([measure.remote(spec, datasets, models)]))
        described = manifest(spec, datasets, tasks, workload=workload_id)
        ledger.create(dump_spec(spec), described, session(workers_hardware()))
        ledger.publish_baselines([_baseline_row(baseline) for baseline in baselines])
        ledger.publish_forget_examples(_forget_example_rows(datasets))
        events.sweeping(total=search.total, ended=len(search.statuses), concurrent=concurrent)
        trainable = tune.with_parameters(AscentTrainable, workload=workload, results=ledger)
        _fit(trainable, spec, search, ledger, concurrent=concurrent, events=events, interrupt=interrupt)
        interrupt.raise_if_set()
    ledger.merge()
    return _summary(search, ledger, was_finished=False)


def _fit(
    trainable: Any,
    spec: SweepSpec,
    search: SweepSearch,
    ledger: Ledger,
    *,
    concurrent: int,
    events: Events,
    interrupt: Interrupt,
) -> None:
    resources = {"CPU": spec.resources.cpus_per_trial, "GPU": spec.resources.gpus_per_trial}
    with tempfile.TemporaryDirectory(prefix="unlearn-sweep-tune-") as scratch:
        Tuner(
            tune.with_resources(trainable, resources),
            tune_config=TuneConfig(
                search_alg=TuneSearcher(search),
                num_samples=-1,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config[TRIAL].trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=RunConfig(
                name=spec.name,
                storage_path=scratch,
                verbose=0,
                stop=_StopOnInterrupt(interrupt),
                callbacks=[_Watch(ledger, events)],
                failure_config=FailureConfig(max_failures=spec.resources.max_failures),
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
            ),
        ).fit()


class _Disposable:
    """Tune pickles what it is given into snapshots that nobody reads: leave them empty."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _StopOnInterrupt(_Disposable, Stopper):  # type: ignore[misc]  # Ray is not typed
    """Ends Tune's loop when a signal has come; each actor's ``cleanup`` then saves its trial."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._interrupt.signal_number is not None


class _Watch(_Disposable, Callback):  # type: ignore[misc]  # Ray is not typed
    """Passes on what Tune hears, and records the failures that no worker is left to record."""

    def __init__(self, ledger: Ledger, events: Events) -> None:
        self._ledger = ledger
        self._events = events

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if EVALUATION in result:
            self._events.evaluated(forget_set=trial.config[TRIAL].forget_set, evaluation=result[EVALUATION])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        row = self._ledger.trial(trial.config[TRIAL].trial_id)
        self._events.trial_ended(status=row["status"] or Status.STOPPED)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        message = str(trial.get_error() or "the worker died").strip()
        self._ledger.fail(trial.config[TRIAL].trial_id, message)
        self._events.trial_ended(status=Status.FAILED)


def _check_existing(ledger: Ledger, spec: SweepSpec) -> bool:
    """Tell whether the sweep exists.

    Raises:
        SweepError: it does, with another spec; with what differs.
    """
    before = ledger.spec_text()
    if before is None:
        return False
    now = dump_spec(spec)
    if canonical_json(parse_yaml(before, SPEC)) != canonical_json(parse_yaml(now, SPEC)):
        diff = difflib.unified_diff(
            before.splitlines(), now.splitlines(), "the sweep's spec", "this spec", n=0, lineterm=""
        )
        raise SweepError(
            f"sweep '{spec.name}' at {ledger.storage.uri} was made with another spec:\n"
            + "\n".join(f"  {line}" for line in diff if not line.startswith("@@"))
            + "\ngive this spec another --name, or put the settings back"
        )
    return True


def _interruptible_wait(interrupt: Interrupt) -> Any:
    def wait(references: list[Any]) -> Any:
        while True:
            interrupt.raise_if_set()
            done, _ = ray.wait(references, timeout=0.5)
            if done:
                return done[0]

    return wait


def _baseline_row(baseline: Baseline) -> dict[str, Any]:
    row = {"model": baseline.model, "forget_set": baseline.forget_set, **asdict(baseline.evaluation)}
    return {name: row[name] for name in BASELINES.names}


def _forget_example_rows(datasets: Datasets) -> list[dict[str, Any]]:
    return [
        {
            "forget_set": name,
            "example_id": example.example_id,
            "prompt": example.prompt,
            "completion": example.completion,
        }
        for name, forget_set in datasets.forget_sets.items()
        for example in forget_set.forget
    ]


def _summary(search: SweepSearch, ledger: Ledger, *, was_finished: bool) -> RunSummary:
    return RunSummary(
        sweep=ledger.sweep,
        uri=ledger.storage.uri,
        trials=len(search.statuses),
        statuses=dict(Counter(status.value for status in search.statuses.values())),
        was_finished=was_finished,
    )
