"""What a sweep's numbers follow from, as it is at present: data, models, and the hash of both."""

from dataclasses import dataclass
from typing import Any

from orchestrator import provenance
from orchestrator.preparation import ModelTask, datasets_of, model_tasks, workload_hash
from orchestrator.spec import SweepSpec
from trainables.forget_sets import Datasets


@dataclass(frozen=True, kw_only=True)
class SweepInputs:
    """Drawn or read from a spec; nothing is trained."""

    spec: SweepSpec
    datasets: Datasets
    tasks: list[ModelTask]
    workload_hash: str

    @staticmethod
    def of(spec: SweepSpec) -> "SweepInputs":
        """Draw or read the data, and name the models.

        Raises:
            UnlearningError: the data cannot be used.
        """
        datasets = datasets_of(spec)
        tasks = model_tasks(spec, datasets)
        return SweepInputs(
            spec=spec, datasets=datasets, tasks=tasks, workload_hash=workload_hash(spec, datasets, tasks)
        )

    def manifest(self) -> dict[str, Any]:
        """Describe them for ``sweep.json``."""
        return provenance.manifest(self.spec, self.datasets, self.tasks, workload=self.workload_hash)
