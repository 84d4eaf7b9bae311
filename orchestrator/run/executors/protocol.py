"""What a run asks of an executor. It loads neither Ray nor PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.ledger import Ledger
from orchestrator.preparation import CheckedInputs, Measured, ModelCache, SweepInputs
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.spec import ResourcesConfig, SweepSpec
from orchestrator.storage import Storage
from trainables.preparation import TrainingState
from trainables.trial import TrialSink

if TYPE_CHECKING:
    from orchestrator.resources import Sharing


class ModelEvents(Protocol):
    """What is reported of models as they are prepared."""

    def training(self, states: Mapping[str, TrainingState]) -> None:
        """Report how far the models in training are, by name."""

    def model_ready(self, name: str) -> None:
        """Report that a model was trained, or found in the cache."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """The base and reference models of a sweep, and what it takes to train and measure them."""

    replicates: Sequence[SweepInputs]
    """Each with models of its own."""
    root: Storage
    """The storage that keeps models, for all of its sweeps."""
    ledger: Ledger
    flops: float | None
    """The arithmetic of training those of one replicate; None: it is not known."""

    @property
    def cache(self) -> ModelCache:
        """Where the models are kept."""
        return ModelCache(self.root)


class Executor(Protocol):
    """Does the work of a sweep. Methods other than ``require_able`` are called within the session.

    All of them return early, with the reason, where the run's ``Interrupt`` is set: SweepInterruptedError,
    RunStoppedError.
    """

    @property
    def reads_new_data(self) -> bool:
        """Whether the data of a new sweep is read within the session: this process then loads no PyTorch."""

    def require_able(self, resources: ResourcesConfig, *, workers: int | None) -> None:
        """Make sure that this executor can do what a spec needs.

        Raises:
            SweepError: it cannot, whatever the machine.
        """

    def session(
        self, resources: ResourcesConfig, *, workers: int | None, last_words: str, doing: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        """Have what the work is done with while the block runs.

        Args:
            resources: of a trial.
            workers: trials at once; None: as many as fit.
            last_words: what is printed where this process is killed.
            doing: told of what takes time.
        """

    def read_and_check(self, spec: SweepSpec) -> CheckedInputs:
        """Read and check the data of a new sweep."""

    def require_shared(self, storage: Storage) -> None:
        """Make sure that every machine reads and writes the storage.

        Raises:
            SweepError: one does not.
        """

    def machines(self) -> int:
        """Count the machines that are there."""

    def hardware(self) -> list[dict[str, Any]]:
        """Describe the machines that are there."""

    def trials_at_once(self, resources: ResourcesConfig, *, asked: int | None) -> int:
        """Return how many trials run at once: as many as were asked for, or as fit; never more than fit.

        Raises:
            SweepError: not even one fits.
        """

    def train_models(self, models: Models, events: ModelEvents) -> None:
        """Train the models that the cache lacks."""

    def build_workloads(self, models: Models) -> list[tuple[Any, Measured]]:
        """Measure the models; return what the trials of each replicate share, in whatever form ``run_trials`` takes it,
        and the measurements."""

    def share_devices(self, spec: SweepSpec, workload: Any) -> tuple[ResourcesConfig, "Sharing"]:
        """Measure what one trial takes, and set how many share a GPU, or a machine's memory."""

    def run_trials(
        self,
        loop: TrialLoop,
        *,
        workloads: Sequence[Any],
        sink: TrialSink,
        name: str,
        resources: ResourcesConfig,
        concurrent: int,
    ) -> None:
        """Run what the loop hands out until it is over, or has to end.

        Args:
            loop: the driver's side of the trials.
            workloads: what those of each replicate share, from ``build_workloads``.
            sink: where their rows and checkpoints go. A trial that reported a rung may take its next slice once
                ``TrialLoop.heard`` has returned.
            name: of the sweep.
            resources: of a trial.
            concurrent: trials at once.
        """
