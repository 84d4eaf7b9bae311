"""One session of a sweep that may run: its models are prepared, then its trials run, by whatever executor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.driver import Interrupt, Lease
from orchestrator.errors import BudgetSpentError, RunStoppedError, SweepError
from orchestrator.ledger import BASELINES, DriverWriter, Ledger, TrialWriter, metric_row
from orchestrator.preparation import Baseline, SweepInputs, memorized_by_base, require_something_to_unlearn
from orchestrator.run.events import Events
from orchestrator.run.executors.protocol import Executor, Models
from orchestrator.run.failures import Failures
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.search import Halving, SweepSearch, export_journal
from orchestrator.spec import ResourcesConfig, SweepSpec
from orchestrator.storage import Storage
from trainables.data import ForgetSet


@dataclass(frozen=True, kw_only=True)
class Session:
    """A sweep, the right to drive it, and who does its work."""

    spec: SweepSpec
    root: Storage
    """That holds all sweeps and models."""
    ledger: Ledger
    replicates: Sequence[SweepInputs]
    """The inputs of each replicate."""
    search: SweepSearch
    executor: Executor
    events: Events
    interrupt: Interrupt
    lease: Lease
    force: bool = False
    """Go on where there is nothing to unlearn."""
    profile: bool = False
    """Record what the first trial does."""
    training_flops: float | None = None
    """The arithmetic of training the models of a replicate; None: it is not known."""

    def run(self, *, workers: int | None) -> None:
        """Prepare the models, then run the trials, within the executor's session.

        Args:
            workers: trials at once; None: as many as fit.
        """
        executor, resources, search = self.executor, self.spec.resources, self.search
        executor.require_shared(self.root)
        machines = executor.machines()
        concurrent = executor.trials_at_once(resources, asked=workers or resources.concurrent_limit)
        self.ledger.manifest.note({"workers": executor.hardware()})
        writer = DriverWriter(self.ledger)
        for trial_id in search.superseded:
            writer.give_up(trial_id, "the sweep went on with another model, other data or another space")
        workloads = self._prepare()
        if resources.concurrent_trials == "auto":
            resources = self._share(workloads[0])
            concurrent = executor.trials_at_once(resources, asked=workers)
        if executor.machines() != machines:  # an autoscaler has started those that trials run on
            self.ledger.manifest.note({"workers": executor.hardware()})
        self._run_trials(workloads, resources, concurrent)
        if not isinstance(self.interrupt.reason, RunStoppedError | SweepError):
            self.lease.renew()  # it may be lost, or the sweep gone
            export_journal(self.ledger.storage, search.studies)
        raise_if_stopped(self.interrupt)

    def _run_trials(self, workloads: Sequence[Any], resources: ResourcesConfig, concurrent: int) -> None:
        self.interrupt.waits_for = (
            f"the running trials to save where they are, at most {resources.stop_grace_s:.0f} s "
            f"(resources.stop_grace_s)"
        )
        search = self.search
        search.run_at_once(concurrent, gpus_per_trial=resources.gpus_per_trial)
        self.events.sweeping(total=search.total, ended=len(search.statuses), concurrent=concurrent)
        failures = Failures(self.ledger)
        halving = None
        if self.spec.stop.halving is not None:
            hashes = [inputs.workload_hash for inputs in self.replicates]
            halving = Halving(self.spec, self.ledger, workload_hashes=hashes)
        loop = TrialLoop(
            search,
            failures,
            self.events,
            self.interrupt,
            self.lease,
            resources=resources,
            halving=halving,
            profile=self.profile,
        )
        self.executor.run_trials(
            loop,
            workloads=workloads,
            sink=TrialWriter(self.ledger),
            name=self.spec.name,
            resources=resources,
            concurrent=concurrent,
        )

    def _prepare(self) -> Sequence[Any]:
        """Train what the cache lacks and measure what the models know; return the workloads of the replicates."""
        self.events.preparing([task.name for inputs in self.replicates for task in inputs.tasks])
        models = Models(
            replicates=self.replicates,
            root=self.root,
            ledger=self.ledger,
            flops=self.training_flops,
        )
        self.executor.train_models(models, self.events)
        self.events.doing("measuring what the models know")
        built = self.executor.build_workloads(models)
        writer = DriverWriter(self.ledger)
        rows, texts = [], []
        for inputs, (_, measured) in zip(self.replicates, built, strict=True):
            rows += [baseline_row(baseline, replicate=inputs.replicate) for baseline in measured.baselines]
            unlearned = {**inputs.datasets.forget_sets, **measured.buckets}
            texts += forget_example_rows(unlearned, replicate=inputs.replicate)
        writer.publish_baselines(rows)
        writer.publish_forget_examples(texts)
        self.look_for_something_to_unlearn(rows)
        return [workload for workload, _ in built]

    def look_for_something_to_unlearn(self, baselines: Sequence[dict[str, Any]]) -> None:
        """Report what the base model has memorized of the forget sets.

        Buckets are no evidence: one by memorization has the examples that the base model happens to know best.

        Raises:
            NothingToUnlearnError: it has memorized nothing, and the sweep has no trial yet and is not forced.
        """
        found = []
        for inputs in self.replicates:
            sets = inputs.datasets.forget_sets.items()
            sizes = {name: (len(own.forget), len(own.population)) for name, own in sets}
            found += memorized_by_base(baselines, sizes, replicate=inputs.replicate)
        self.events.memorized(found)
        if not self.force and not self.search.has_trials:
            require_something_to_unlearn(found, self.spec, self.ledger.storage.uri)

    def _share(self, workload: Any) -> ResourcesConfig:
        """Measure what one trial takes, and set how many share a GPU, or a machine's memory."""
        self.events.doing("measuring what memory a trial takes")
        resources, sharing = self.executor.share_devices(self.spec, workload)
        self.ledger.manifest.note({"sharing": sharing.as_json()})
        self.events.shared(str(sharing))
        return resources


def raise_if_stopped(interrupt: Interrupt) -> None:
    """Leave a run that was stopped. One whose budget is spent has ended as it should.

    Raises:
        Exception: the reason to stop.
    """
    if not isinstance(interrupt.reason, BudgetSpentError):
        interrupt.raise_if_set()


def baseline_row(baseline: Baseline, *, replicate: int = 0) -> dict[str, Any]:
    """Return what a model of a replicate knows of a forget set as a row of the baselines table."""
    own = {"model": baseline.model, "forget_set": baseline.forget_set, "replicate": replicate}
    row = {**baseline.metrics, **own}
    return dict.fromkeys(BASELINES.names) | metric_row("baselines", row)


def forget_example_rows(unlearned: Mapping[str, ForgetSet], *, replicate: int = 0) -> list[dict[str, Any]]:
    """Return the texts that a replicate unlearns, buckets included, as rows of the forget sets' table."""
    return [
        {
            "forget_set": name,
            "replicate": replicate,
            "example_id": example.example_id,
            "prompt": example.prompt,
            "completion": example.completion,
            "repetitions": repetitions,
        }
        for name, forget_set in unlearned.items()
        for example, repetitions in zip(forget_set.forget, forget_set.repetitions, strict=True)
    ]
