"""TensorBoard: event files in a folder, ``FORGET_SET/seed=SEED/OPTIMIZER LEARNING_RATE TRIAL/``.

Trials of further replicates have ``replicate=REPLICATE`` behind the seed."""

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboardX import SummaryWriter

from orchestrator.errors import SweepError
from orchestrator.monitor.trackers.base import TrackedTrial, scalars
from orchestrator.safe_text import file_name


class TensorBoardTracker:
    """Writes every run anew: files that an earlier process left of the same trials are replaced."""

    def __init__(self, target: str, sweep: str) -> None:
        """Choose the folder; raise a ``SweepError`` if it is a file."""
        self._folder = Path(target)
        if self._folder.exists() and not self._folder.is_dir():
            raise SweepError(f"{self._folder}: it is a file; give a folder for TensorBoard's runs")
        self._begun: set[str] = set()
        self.where = f"in {self._folder}; view them: tensorboard --logdir {shlex.quote(str(self._folder))}"

    def write(self, trial: TrackedTrial) -> None:
        """Append the new evaluations."""
        if not trial.fresh:
            return
        with self._writer(trial) as writer:
            for row in trial.fresh:
                for name, value in scalars(row).items():
                    began = trial.started_at.timestamp()
                    writer.add_scalar(name, value, row["step"], walltime=began + row["elapsed_s"])
        self._begun.add(trial.trial_id)

    @contextmanager
    def _writer(self, trial: TrackedTrial) -> Iterator[SummaryWriter]:
        place = self._folder / file_name(trial.forget_set) / f"seed={trial.seed}"
        if trial.replicate:
            place /= f"replicate={trial.replicate}"
        place /= file_name(trial.name)
        if trial.trial_id not in self._begun and place.exists():
            shutil.rmtree(place)
        suffix = f".{trial.fresh[0]['step']:09d}"  # files of the same second would have the same name
        writer = SummaryWriter(str(place), filename_suffix=suffix)
        try:
            yield writer
        finally:
            writer.close()
