"""Weights & Biases: each trial is a run with the trial's id, grouped by stratum. ``WANDB_*`` set server and account."""

import glob
import shlex
import shutil
from pathlib import Path

import wandb

from orchestrator.errors import SweepError
from orchestrator.monitor.trackers.base import TrackedTrial, scalars


class WandbTracker:
    """Continues a run of the same id. Offline, where W&B cannot do that, it writes the whole run again in its place."""

    def __init__(self, target: str, sweep: str) -> None:
        self._project = target
        mode = wandb.setup().settings
        self._offline_folder = Path(mode.wandb_dir) if mode.mode == "offline" else None
        self.where = f"in the W&B project {target}"
        if self._offline_folder is not None:
            runs = shlex.quote(str(self._offline_folder))
            self.where = f"in {self._offline_folder}; send them: wandb sync {runs}/offline-run-*"

    def write(self, trial: TrackedTrial) -> None:
        """Log the evaluations beyond the run's last step, and how the trial ended."""
        if self._offline_folder is not None:
            for earlier in self._offline_folder.glob(f"offline-run-*-{glob.escape(trial.trial_id)}"):
                shutil.rmtree(earlier)
        try:
            run = wandb.init(
                project=self._project,
                id=trial.trial_id,
                name=trial.name,
                group=trial.stratum,
                config={
                    **trial.config,
                    "sweep": trial.sweep,
                    "forget_set": trial.forget_set,
                    "seed": trial.seed,
                    "replicate": trial.replicate,
                },
                resume="allow" if self._offline_folder is None else None,
                reinit="create_new",
                settings=wandb.Settings(  # the run belongs to a trial, not to this process
                    console="off",
                    silent=True,
                    disable_git=True,
                    disable_code=True,
                    x_disable_stats=True,
                    x_disable_meta=True,
                ),
            )
        except wandb.errors.Error as error:
            raise SweepError(
                f"--wandb {self._project}: {error}; log in with `wandb login`, or set WANDB_MODE=offline"
            ) from None
        run.define_metric("*", step_metric="step")
        for row in trial.evaluations:
            if row["step"] >= run.starting_step:
                run.log({"step": row["step"], **scalars(row)}, step=row["step"])
        run.summary.update({"status": trial.status, "message": trial.message})
        run.finish(exit_code=1 if trial.status == "failed" else 0)
