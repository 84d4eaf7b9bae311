"""The executor of whole machines: tasks and actors of Ray, on this machine or on a cluster."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from orchestrator.driver import Interrupt, catch_signals
from orchestrator.errors import RunStoppedError
from orchestrator.preparation import CheckedInputs, Measured, ModelTask, start_building, train_missing
from orchestrator.resources import (
    capacity,
    fetch,
    first_done,
    measure,
    offered_gpus,
    ray_session,
    require_shared,
    share_devices,
    starts_here,
    workers_hardware,
)
from orchestrator.run.executors.protocol import ModelEvents, Models
from orchestrator.run.executors.ray_tune import run_by_tune
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.spec import ResourcesConfig, SweepSpec
from orchestrator.storage import Storage
from trainables.deferred import Deferred
from trainables.preparation import REPORTED_EVERY_S as TRAINING_TOLD_EVERY_S
from trainables.tune import AscentTrainable

if TYPE_CHECKING:
    from orchestrator.resources import Sharing
    from trainables.trial import TrialSink

_read_and_check = Deferred("orchestrator.preparation", "read_and_check")
WIDE_TRAINABLE = Deferred("trainables.tune", "WideTrainable")  # it loads Ray Train


class RayExecutor:
    """Does a sweep's work by Ray."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt
        self._limit_s = 0.0

    @property
    def reads_new_data(self) -> bool:
        """Whether a worker reads the data: one of this machine, which has its files and variables."""
        return starts_here()

    def require_able(self, resources: ResourcesConfig, *, workers: int | None) -> None:
        """Accept every spec: whether the cluster is large enough is known once there is one."""

    @contextmanager
    def session(
        self, resources: ResourcesConfig, *, workers: int | None, last_words: str, doing: Callable[[str], None]
    ) -> Iterator[None]:
        """Start Ray, or connect to the cluster."""
        doing("starting Ray")
        self._limit_s = resources.training_limit_s
        self._interrupt.waits_for = "Ray to start, which takes seconds, at most two minutes"
        session = ray_session(resources, workers=workers, on_loss=self._interrupt.stop, last_words=last_words)
        with session, catch_signals(self._interrupt):  # once more: ray.init puts a SIGTERM handler of its own in place
            yield

    def read_and_check(self, spec: SweepSpec) -> CheckedInputs:
        """Have a worker of this machine read and check the data: it has PyTorch loaded, which this process has not."""
        self._interrupt.waits_for = "Ray to end, which takes seconds"
        task = ray.remote(num_cpus=0)(_read_and_check.as_function())
        reading = self._wait([task.remote(spec, is_new=True)], "the data to be read")
        checked: CheckedInputs = fetch(reading, "reading the data")
        return checked

    def require_shared(self, storage: Storage) -> None:
        """Have every machine of a cluster read and write the storage."""
        if len(ray.nodes()) > 1:
            require_shared(storage)

    def machines(self) -> int:
        """Count the machines of the cluster."""
        return len(_machines())

    def hardware(self) -> list[dict[str, Any]]:
        """Describe the machines of the cluster that answer."""
        return workers_hardware()

    def trials_at_once(self, resources: ResourcesConfig, *, asked: int | None) -> int:
        """Return how many trials run at once, of those that the cluster holds."""
        return capacity().at_once(resources, asked=asked)

    def train_models(self, models: Models, events: ModelEvents) -> None:
        """Train the models that the cache lacks, in parallel tasks."""
        self._interrupt.waits_for = "Ray to end, which takes seconds; a model in training goes on from its checkpoint"

        def wait(groups: Any) -> Any:
            tasks = [task for group in groups.values() for task in group]
            look = watch_training(models, tasks, events)
            return self._wait(list(groups), f"the models {', '.join(task.name for task in tasks)}", look)

        train_missing(
            models.replicates,
            models.cache,
            models.ledger,
            flops=models.flops,
            on_trained=events.model_ready,
            wait=wait,
        )

    def build_workloads(self, models: Models) -> list[tuple[Any, Measured]]:
        """Measure the models in parallel tasks; a workload stays where it was made, and its reference is returned."""
        started = [
            start_building(
                inputs.dated, inputs.datasets, inputs.tasks, models.cache, models.ledger, tokens=inputs.tokens_hash
            )
            for inputs in models.replicates
        ]
        return [
            (workload, fetch(self._wait([measuring], "what the models know"), "measuring what the models know"))
            for workload, measuring in started
        ]

    def share_devices(self, spec: SweepSpec, workload: Any) -> tuple[ResourcesConfig, "Sharing"]:
        """Measure one trial in a task of its own process, and divide the devices of the cluster by it."""
        measuring = self._wait([measure(spec, workload)], "what memory a trial takes")
        peak = fetch(measuring, "measuring what memory a trial takes")
        return share_devices(spec.resources, peak, nodes=_machines(), gpus=offered_gpus())

    def run_trials(
        self,
        loop: TrialLoop,
        *,
        workloads: Sequence[Any],
        sink: "TrialSink",
        name: str,
        resources: ResourcesConfig,
        concurrent: int,
    ) -> None:
        """Run trials in resident actors, or each on a group of workers."""
        if resources.workers_per_trial == 1:
            trainable = tune.with_parameters(AscentTrainable, workloads=list(workloads), sink=sink)
        else:
            trainable = tune.with_parameters(
                WIDE_TRAINABLE.resolve(),
                workloads=list(workloads),
                sink=sink,
                workers=resources.workers_per_trial,
                worker_resources=resources.worker_resources,
            )
        run_by_tune(trainable, loop, name=name, resources=resources, concurrent=concurrent)

    def _wait(self, references: list[Any], what: str, look: Callable[[], None] = lambda: None) -> Any:
        """Wait for the first of some Ray references, which is returned. A signal ends the wait, and time does.

        Raises:
            RunStoppedError: it took longer than ``resources.training_limit_s``.
        """
        done = first_done(references, self._interrupt, limit_s=self._limit_s, look=look)
        if done is not None:
            return done
        raise RunStoppedError(
            f"waited {self._limit_s:.0f} s (resources.training_limit_s) for {what}; see whether the cluster has a "
            f"worker for them ('ray status'), and raise the limit if they need longer"
        )


def watch_training(
    models: Models,
    tasks: Sequence[ModelTask],
    events: ModelEvents,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[], None]:
    """Return a function that reports, every few seconds that it is called, how far the models in training are."""
    last = clock()

    def look() -> None:
        nonlocal last
        if clock() - last >= TRAINING_TOLD_EVERY_S:
            states = {task.name: models.cache.training_state(task.key) for task in tasks}
            events.training({name: state for name, state in states.items() if state is not None})
            last = clock()

    return look


def _machines() -> list[dict[str, float]]:
    """List what each machine that is there has, by Ray's names."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
