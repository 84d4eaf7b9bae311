"""What Ray's processes inherit from this one, and what is kept from them: keys, search path, messages."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from ray._private import worker as driver  # its messages come by no other way
from ray.air._internal import usage
from ray.job_config import JobConfig
from ray.tune.execution import class_cache

TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger is the log: 19 ms a trial instead of 50-100
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # orchestrator.driver.interrupt has it
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own snapshots are disposable
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a failure is one line of the run's progress, and the whole in its log
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
PROCESSES = {
    "PYTHONSAFEPATH": "1",  # not the folder that a process happens to run in, or that its script is in
    "PYTHONUTF8": "1",  # files are UTF-8, whatever the locale says
}
"""Variables of every process of a session."""
AHEAD = "orchestrator.resources.worker_imports"
"""The module that a worker imports before it has work."""
AHEAD_MIB = 512
"""Memory of a worker that has imported that module."""


def importing_ahead(workers: int) -> dict[str, str]:
    """Return the variables by which the workers that Ray starts beforehand import what they will need (Ray's own
    setting ``preload_python_modules``): they do it while the driver goes on, and none waits for it later.

    Args:
        workers: how many Ray starts beforehand. Where there is not the memory for so many, they import when they work.
    """
    fits = workers * AHEAD_MIB * 2**20 < psutil.virtual_memory().available / 2
    return {"RAY_preload_python_modules": AHEAD} if fits else {}


class ProjectAlone(JobConfig):  # type: ignore[misc]  # Ray is not typed
    """A job whose workers import what is installed, and what ``PYTHONPATH`` names.

    Ray would put the driver's folder first on their path, where a user's ``datasets.py`` replaces the library.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        """Return True: Ray then leaves the search path alone, and uses the answer for nothing else."""
        return True


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment that are not set, while the block runs."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def give_actors_no_variables() -> None:
    """Keep Tune from giving its actors variables, ``AWS_*`` among them.

    Ray writes those that an actor is given to its logs; and an actor that is given any takes a new process, where one
    that has PyTorch already waits for work. Workers have the environment of the machine that they run on.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.clear()
    class_cache.DEFAULT_ENV_VARS.clear()  # PL_DISABLE_FORK, of PyTorch Lightning


def keep_trackers_out() -> None:
    """Keep Tune from importing every tracker that is installed (mlflow, wandb, ...) to count whether it is used."""
    usage.tag_callbacks = lambda _: False


def protect_token() -> None:
    """Make the token of this user's clusters readable by its owner alone; Ray writes it for everybody to read."""
    token = Path("~/.ray/auth_token")
    with suppress(OSError, RuntimeError):  # there is none, or no home
        token.expanduser().chmod(0o600)


def silence() -> None:
    """Keep Ray's messages from standard output: the run itself reports what became of a worker, and what to do."""

    def ignore(*_: Any, **__: Any) -> None:
        pass

    driver.print_to_stdstream = ignore
