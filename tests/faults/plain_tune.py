"""What ``soak`` compares with: the same shape of sweep in plain Ray Tune with OptunaSearch and ``Tuner.restore``.

    python -m tests.faults.plain_tune FOLDER TRIALS STEPS    # begins, or restores what is in the folder

Every step is noted in FOLDER/notes, as the steps of our own trials are; a step takes as long as ours about does.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

import optuna
import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.search.optuna import OptunaSearch

STEP_S = 0.05
CHECKPOINT_STEPS = 3


class Walk(tune.Trainable):
    """A trajectory whose state is its step."""

    def setup(self, config):
        self._rate, self._notes, self._steps = config["learning_rate"], config["notes"], config["steps"]
        self._step = 0

    def step(self):
        time.sleep(STEP_S)  # the work
        self._step += 1
        _note(self._notes, "evaluate", f"{self._rate:.17g}", self._step)
        exposure, performance = abs(10 - 1e3 * self._rate * self._step), 3 + (1e3 * self._rate * self._step) ** 2 / 100
        done = self._step >= self._steps
        return {"walked": self._step, "exposure": exposure, "performance": performance, "done": done}

    def save_checkpoint(self, checkpoint_dir):
        (Path(checkpoint_dir) / "state.json").write_text(json.dumps({"step": self._step}))

    def load_checkpoint(self, checkpoint_dir):
        self._step = json.loads((Path(checkpoint_dir) / "state.json").read_text())["step"]

    def reset_config(self, new_config):
        self.setup(new_config)
        return True


def _note(path, *what):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(map(str, what)) + "\n").encode())
    os.close(descriptor)


def main():
    warnings.simplefilter("ignore")
    folder, trials, steps = Path(sys.argv[1]).absolute(), int(sys.argv[2]), int(sys.argv[3])
    place = folder / "sweep"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    if Tuner.can_restore(str(place)):
        tuner = Tuner.restore(str(place), trainable=Walk, resume_unfinished=True, resume_errored=True)
    else:
        search = OptunaSearch(
            space={
                "learning_rate": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True),
                "notes": optuna.distributions.CategoricalDistribution([str(folder / "notes")]),
                "steps": optuna.distributions.CategoricalDistribution([steps]),
            },
            metric=["exposure", "performance"],
            mode=["min", "min"],
            seed=0,
        )
        tuner = Tuner(
            tune.with_resources(Walk, {"CPU": 1}),
            tune_config=TuneConfig(search_alg=search, num_samples=trials, max_concurrent_trials=1, reuse_actors=True),
            run_config=RunConfig(
                name="sweep",
                storage_path=str(folder),
                verbose=0,
                failure_config=FailureConfig(max_failures=2),
                checkpoint_config=CheckpointConfig(checkpoint_frequency=CHECKPOINT_STEPS),
            ),
        )
    results = tuner.fit()
    outcome = [
        {"rate": result.config["learning_rate"], "walked": (result.metrics or {}).get("walked", 0)}
        for result in results
    ]
    (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
