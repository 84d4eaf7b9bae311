"""The section ``resources`` of a spec: what one trial takes, how many run at once, and how long a run waits."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainables.config import Config, Parallelism, PositiveInt


class ResourcesConfig(Config):
    """What one trial takes, and how many run at once."""

    concurrent_trials: PositiveInt | Literal["auto"] | None = None
    """How many trials run at once. None: as many as the cluster's CPUs and GPUs hold. ``auto``: as many as its memory
    holds, too: one trial's peak is measured first, which with GPUs (``gpus_per_trial: 1``) sets the share of a GPU that
    each takes."""
    cpus_per_trial: Annotated[float, Field(gt=0)] = 1
    """CPUs of the whole trial, however many workers it runs on."""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0
    """GPUs of the whole trial. A fraction (0.25) lets trials share a GPU; each of several workers needs its own."""
    memory_gib_per_trial: Annotated[float, Field(ge=0)] = 0
    """RAM that Ray reserves for the whole trial on its machine; 0: none, unless ``concurrent_trials: auto`` has
    measured it."""
    workers_per_trial: PositiveInt = 1
    """Processes that run one trial together, each on a part of every batch: one reused actor, or N workers under Ray
    Train."""
    parallelism: Parallelism = "ddp"
    """How several workers share a trial: ``ddp`` keeps a whole model on each; ``fsdp`` cuts it into shards, for models
    whose ascent does not fit one GPU. The numbers are the same, up to rounding. Base and reference models are trained
    in the same way, by as many workers, but for small ones, which one worker trains sooner than a group starts."""
    threads_per_trial: PositiveInt = 1
    """Intra-op threads of PyTorch in each worker. The number is pinned, since another one rounds differently."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """How often a trial whose worker died is retried from its checkpoint; after one more death it has ``failed``."""
    stop_grace_s: Annotated[float, Field(ge=0)] = 60.0
    """How long a stopped run waits for its trials to save their state. Spot machines are taken away 30 to 120 s after
    the warning."""
    silence_limit_s: Annotated[float, Field(gt=0)] = 3600.0
    """How long all running trials together may show no sign of life (an evaluation, a checkpoint, some seconds of
    ascent) before the run stops with an error."""
    training_limit_s: Annotated[float, Field(gt=0)] = 7 * 86_400.0
    """How long the run waits for a base or reference model to be trained, or for the baselines to be measured. Where
    models are trained by several workers, it waits for all that these train one after another."""

    @model_validator(mode="after")
    def _workers_have_gpus_of_their_own(self) -> Self:
        if self.gpus_per_trial > 1 and not self.gpus_per_trial.is_integer():
            raise ValueError(f"gpus_per_trial: a share of one GPU, or whole GPUs; found {self.gpus_per_trial:g}")
        if self.workers_per_trial > 1 and self.gpus_per_trial not in (0, self.workers_per_trial):
            raise ValueError(
                f"gpus_per_trial is of the whole trial: {self.workers_per_trial} workers take one GPU each, "
                f"{self.workers_per_trial} in all, or none; found {self.gpus_per_trial:g}"
            )
        if self.parallelism == "fsdp" and self.workers_per_trial == 1:
            raise ValueError("parallelism: fsdp shares a model among workers; set workers_per_trial above 1")
        return self

    @model_validator(mode="after")
    def _auto_divides_one_device(self) -> Self:
        if self.concurrent_trials == "auto" and (self.workers_per_trial > 1 or self.gpus_per_trial > 1):
            raise ValueError(
                f"concurrent_trials: auto divides one GPU, or one machine's RAM, among trials of one worker; found "
                f"gpus_per_trial {self.gpus_per_trial:g} and workers_per_trial {self.workers_per_trial}; leave "
                f"concurrent_trials out to run as many as fit"
            )
        return self

    @property
    def concurrent_limit(self) -> int | None:
        """How many trials may run at once; None: as many as fit."""
        return None if self.concurrent_trials == "auto" else self.concurrent_trials

    @property
    def tune_resources(self) -> dict[str, float]:
        """What Tune's own actor of a trial takes: everything, or nothing if workers of Ray Train take it.

        Tune does not accept nothing, so it is one byte.
        """
        return self.worker_resources if self.workers_per_trial == 1 else {"memory": 1}

    @property
    def worker_resources(self) -> dict[str, float]:
        """What one worker of a trial takes, by Ray's names. A trial takes ``workers_per_trial`` times this."""
        whole: dict[str, float] = {"CPU": self.cpus_per_trial, "GPU": self.gpus_per_trial}
        if self.memory_gib_per_trial:
            whole["memory"] = self.memory_gib_per_trial * 2**30  # bytes
        return {name: amount / self.workers_per_trial for name, amount in whole.items()}
