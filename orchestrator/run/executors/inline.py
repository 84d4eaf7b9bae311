"""The executor of one process: the one that drives the sweep reads the data, trains the models and runs the trials.

No Ray is loaded. The rows are bit for bit those of the other executor: the code that makes numbers is the same.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.driver import Interrupt
from orchestrator.errors import (
    LedgerWarning,
    RunStoppedError,
    SweepError,
)
from orchestrator.preparation import CheckedInputs, Measured, ModelCache, ModelTask, SweepInputs
from orchestrator.resources import describe_machine, explained
from orchestrator.run.executors.protocol import ModelEvents, Models
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.search import Assignment
from orchestrator.spec import ResourcesConfig, SweepSpec
from orchestrator.storage import Storage
from trainables.deferred import Deferred
from trainables.failures import TrialFailedError
from trainables.preparation import TrainingState
from trainables.records import Trial
from trainables.trial import TrialSink, TrialWorker, is_last

if TYPE_CHECKING:
    from orchestrator.resources import Sharing

_build_workload = Deferred("orchestrator.preparation", "build_workload")
_read_and_check = Deferred("orchestrator.preparation", "read_and_check")
_train_model = Deferred("orchestrator.preparation", "train_model")


class Worker(Protocol):
    """Runs trials one after another: see ``TrialWorker``, whose methods these are."""

    def take(self, trial: Trial) -> None:
        """Take the next trial."""

    def next_report(self) -> dict[str, Any]:
        """Run the next slice of the trial and return the report of it."""

    def stop(self) -> None:
        """Leave an unfinished trial in good order."""


class InlineExecutor:
    """Does a sweep's work in this process. Breakpoints work, and nothing has to start."""

    def __init__(
        self, interrupt: Interrupt, *, make_worker: Callable[[Callable[[int], Any], TrialSink], Worker] = TrialWorker
    ) -> None:
        """Begin.

        Args:
            interrupt: the reason to stop, once there is one.
            make_worker: makes what runs trials, of what returns a replicate's workload, and where rows and checkpoints
                go.
        """
        self._interrupt = interrupt
        self._make_worker = make_worker
        self._scratch = Path()
        """A folder of this session."""

    @property
    def reads_new_data(self) -> bool:
        """False: this process loads PyTorch anyhow, so it reads the data before anything is written."""
        return False

    def require_able(self, resources: ResourcesConfig, *, workers: int | None) -> None:
        """Refuse what takes more than one process.

        Raises:
            SweepError: several workers a trial, several trials at once, or devices to be shared among trials.
        """
        wrong = []
        if workers is not None and workers > 1:
            wrong.append(f"--workers {workers}: that many trials at once; leave it out")
        if resources.workers_per_trial > 1:
            wrong.append(f"resources.workers_per_trial: {resources.workers_per_trial} processes for each trial; set 1")
        if resources.concurrent_trials == "auto":
            wrong.append("resources.concurrent_trials: auto: trials that share a device; set 1")
        if 0 < resources.gpus_per_trial < 1:
            wrong.append(
                f"resources.gpus_per_trial: {resources.gpus_per_trial:g}: trials that share a GPU; set 1, or 0 to run "
                f"on the CPU"
            )
        if wrong:
            raise SweepError(
                "--executor inline runs one trial at a time, in the process of the command; found\n"
                + "".join(f"  {found}\n" for found in wrong)
                + "or let Ray run the sweep: leave --executor out"
            )

    @contextmanager
    def session(
        self, resources: ResourcesConfig, *, workers: int | None, last_words: str, doing: Callable[[str], None]
    ) -> Iterator[None]:
        """Start nothing."""
        self._interrupt.waits_for = "what is read, trained or measured now, which may take minutes"
        with tempfile.TemporaryDirectory(prefix="unlearn-sweep-", ignore_cleanup_errors=True) as scratch:
            self._scratch = Path(scratch)
            yield

    def read_and_check(self, spec: SweepSpec) -> CheckedInputs:
        """Read and check the data of a new sweep."""
        checked: CheckedInputs = _read_and_check(spec, is_new=True)
        return checked

    def require_shared(self, storage: Storage) -> None:
        """Accept every storage: there is one process."""

    def machines(self) -> int:
        """Count this machine."""
        return 1

    def hardware(self) -> list[dict[str, Any]]:
        """Describe this machine."""
        return [describe_machine()]

    def trials_at_once(self, resources: ResourcesConfig, *, asked: int | None) -> int:
        """Return 1.

        Raises:
            SweepError: a trial takes a GPU, and there is none.
        """
        if resources.gpus_per_trial:
            import torch  # noqa: PLC0415  # heavy, and without GPUs not needed here

            if not torch.accelerator.is_available():
                raise SweepError(
                    f"resources.gpus_per_trial: {resources.gpus_per_trial:g}, and PyTorch sees no GPU on this machine; "
                    f"set 0 to run on the CPU, or use a machine that has one"
                )
        return 1

    def train_models(self, models: Models, events: ModelEvents) -> None:
        """Train the models that the cache lacks, one after another."""
        self._interrupt.waits_for = "the training to look up, every few seconds; it goes on from its checkpoint"
        for inputs in models.replicates:
            for task in inputs.tasks:
                self._interrupt.raise_if_set()
                if models.cache.holds(task.key):
                    models.cache.tidy(task.key)
                else:
                    self._train(task, inputs, models, events)
                events.model_ready(task.name)

    def _train(self, task: ModelTask, inputs: SweepInputs, models: Models, events: ModelEvents) -> None:
        cache = _WatchedCache(models.root, task.name, events, self._interrupt)
        with explained(f"training model '{task.name}'"):
            warning = _train_model(inputs.dated, inputs.datasets, task, cache, models.ledger, tokens=inputs.tokens_hash)
        if warning is not None:
            warnings.warn(f"model '{task.name}': {warning}", LedgerWarning, stacklevel=2)

    def build_workloads(self, models: Models) -> list[tuple[Any, Measured]]:
        """Measure the models of one replicate after another; return the workloads themselves.

        Of several, the weights are in files of this session: memory holds those that a trial uses.
        """
        self._interrupt.waits_for = "the models to be measured"
        built = []
        for inputs in models.replicates:
            self._interrupt.raise_if_set()
            with explained("measuring what the models know"):
                workload, measured = _build_workload(
                    inputs.dated, inputs.datasets, inputs.tasks, models.cache, models.ledger, tokens=inputs.tokens_hash
                )
            if len(models.replicates) > 1:
                workload = replace(workload, base=workload.base.mapped(self._scratch))
            built.append((workload, measured))
        self._interrupt.raise_if_set()
        return built

    def share_devices(self, spec: SweepSpec, workload: Any) -> tuple[ResourcesConfig, "Sharing"]:
        """Share nothing: ``require_able`` refuses a spec that asks for it."""
        raise AssertionError("trials do not share a device in one process")

    def run_trials(
        self,
        loop: TrialLoop,
        *,
        workloads: Sequence[Any],
        sink: TrialSink,
        name: str,
        resources: ResourcesConfig,
        concurrent: int = 1,
    ) -> None:
        """Run trials by as many workers as trials run at once, each a slice in its turn."""
        workers = [self._make_worker(workloads.__getitem__, sink) for _ in range(concurrent)]
        running: dict[int, Assignment] = {}
        while not loop.must_end():
            for index, worker in enumerate(workers):
                if index not in running and (assignment := loop.next_trial()) is not None:
                    worker.take(assignment.trial)
                    running[index] = assignment
            if not running:
                return
            for index, assignment in list(running.items()):
                if self._run_slice(loop, workers[index], assignment):
                    del running[index]
        for index in running:
            workers[index].stop()

    def _run_slice(self, loop: TrialLoop, worker: Worker, assignment: Assignment) -> bool:
        """Run a trial's next slice; return whether it was the last."""
        try:
            report = worker.next_report()
        except TrialFailedError as error:
            loop.failed(assignment, error.failure)
            self._interrupt.stop(
                RunStoppedError(f"{error}; this process can run no further trial after it: resume the sweep")
            )
            return True
        loop.heard(assignment, report)
        if not is_last(report):
            return False
        loop.ended(assignment, report)
        return True


class _WatchedCache(ModelCache):
    """The model cache of one training, which hears how far it is every few seconds: then an interruption ends it."""

    def __init__(self, root: Storage, name: str, events: ModelEvents, interrupt: Interrupt) -> None:
        super().__init__(root)
        self._name = name
        self._events = events
        self._interrupt = interrupt

    def record_training_state(self, key: str, state: TrainingState) -> None:
        """Pass on how far the training is."""
        super().record_training_state(key, state)
        self._events.training({self._name: state})
        self._interrupt.raise_if_set()
