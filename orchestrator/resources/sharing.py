"""How many trials share one GPU, or the RAM of one machine: computed from what one trial was measured to take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import ray

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.spec import ResourcesConfig, SweepSpec
from trainables.config import TrialConfig
from trainables.deferred import Deferred
from trainables.objectives import OBJECTIVES

if TYPE_CHECKING:
    from trainables.trial import PeakMemory

_measure_peak = Deferred("trainables.trial", "measure_peak")

HEADROOM = 0.1
"""Share of a device's memory that is left free: for fragmentation, and what three steps of a probe did not meet."""
MOST = 100
"""Trials of one GPU: Ray counts in ten-thousandths, and of more trials the floored share would admit still more."""
_GIB = 2**30
_FRESH_PROCESS = {"env_vars": {"UNLEARN_SWEEP_TASK": "memory-probe"}}
"""Ray gives a task of another environment a process of its own: one that was used before has another peak."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How many trials share a device, and the measurements that it follows from."""

    device: str
    memory_bytes: int
    """Of the device."""
    peak_bytes: int
    """Of one trial."""
    ram_bytes: int | None
    """RAM that goes with a GPU; None: the device is a machine, and its memory is the RAM."""
    ram_peak_bytes: int | None
    """Of one trial."""
    cpus: float
    """CPUs that go with the device."""
    headroom: float
    trials_per_device: int
    bound: str
    """What is used up first: ``memory``, ``RAM``, ``CPUs``, or ``MOST``."""

    def __str__(self) -> str:
        has, takes = f"{self.device} of {self.memory_bytes / _GIB:.2f} GiB", f"{self.peak_bytes / _GIB:.3f} GiB"
        if self.ram_bytes is not None and self.ram_peak_bytes is not None:
            has += f", {self.ram_bytes / _GIB:.2f} GiB of RAM"
            takes += f" and {self.ram_peak_bytes / _GIB:.3f} GiB of RAM"
        return (
            f"{self.trials_per_device} trials share {has} and {self.cpus:g} CPUs: one takes {takes} at its peak; bound "
            f"by {self.bound}"
        )

    @property
    def gpus_per_trial(self) -> float:
        """One trial's share of a GPU. Ray counts in ten-thousandths, and the shares must not exceed the whole."""
        return max(1, 10_000 // self.trials_per_device) / 10_000

    @property
    def memory_gib_per_trial(self) -> float:
        """RAM to ask Ray for, so that no machine gets more trials than its memory holds with headroom."""
        peak_bytes = self.peak_bytes if self.ram_peak_bytes is None else self.ram_peak_bytes
        return peak_bytes / (1 - self.headroom) / _GIB

    def as_json(self) -> dict[str, Any]:
        """Return what ``sweep.json`` keeps."""
        return asdict(self)


def share(
    *,
    device: str,
    memory_bytes: int,
    peak_bytes: int,
    cpus: float,
    cpus_per_trial: float,
    ram_bytes: int | None = None,
    ram_peak_bytes: int | None = None,
) -> Sharing:
    """Divide a device's memory, less ``HEADROOM``, and its CPUs, among trials; of a GPU, also the RAM beside it.

    Args:
        device: what it is called.
        memory_bytes: of the device.
        peak_bytes: of one trial.
        cpus: that go with the device.
        cpus_per_trial: of one trial.
        ram_bytes: that go with a GPU; None: the device is none, and its memory is the RAM.
        ram_peak_bytes: of one trial, on a GPU.

    Raises:
        SweepError: not even one trial fits; with the arithmetic.
    """
    bounds = {"memory": int(memory_bytes * (1 - HEADROOM) / peak_bytes), "CPUs": int(cpus / cpus_per_trial + 1e-9)}
    takes, has = f"{peak_bytes / _GIB:.2f} GiB", f"{memory_bytes / _GIB:.2f} GiB"
    if ram_bytes is not None and ram_peak_bytes is not None:
        bounds["RAM"] = int(ram_bytes * (1 - HEADROOM) / ram_peak_bytes)
        bounds[f"the {MOST} that Ray can count on one GPU"] = MOST
        takes += f" and {ram_peak_bytes / _GIB:.2f} GiB of RAM"
        has += f" and {ram_bytes / _GIB:.2f} GiB of RAM"
    bound = min(bounds, key=bounds.__getitem__)
    if bounds[bound] < 1:
        raise SweepError(
            f"resources.concurrent_trials: auto: a trial takes {takes} at its peak and {cpus_per_trial:g} CPUs; "
            f"{device} has {has}, {1 - HEADROOM:.0%} of them usable, and {cpus:g} CPUs: too little {bound}; lower "
            f"batch_size or set micro_batch_size in search.space, lower resources.cpus_per_trial, or use a larger "
            f"device"
        )
    return Sharing(
        device=device,
        memory_bytes=memory_bytes,
        peak_bytes=peak_bytes,
        ram_bytes=ram_bytes,
        ram_peak_bytes=ram_peak_bytes,
        cpus=cpus,
        headroom=HEADROOM,
        trials_per_device=bounds[bound],
        bound=bound,
    )


def share_devices(
    resources: ResourcesConfig,
    peak: "PeakMemory",
    *,
    nodes: Sequence[Mapping[str, float]],
    gpus: Iterable[Mapping[str, Any]],
) -> tuple[ResourcesConfig, Sharing]:
    """Set what a trial takes, so that as many run at once as the memory of a cluster's devices holds.

    Args:
        resources: as the spec has them.
        peak: what one trial takes.
        nodes: what each machine has, by Ray's names.
        gpus: ``name`` and ``memory`` (bytes) of every GPU that Ray offers, as ``hardware`` tells them.

    Raises:
        SweepError: not even one trial fits the device; with the arithmetic.
        RunStoppedError: the machines with GPUs are gone.
    """
    if not resources.gpus_per_trial:
        roomiest = max(nodes, key=lambda node: node.get("memory", 0) if node.get("CPU", 0) else 0)
        sharing = share(
            device="the roomiest machine",
            memory_bytes=int(roomiest.get("memory", 0)),
            peak_bytes=peak.host_bytes,
            cpus=roomiest.get("CPU", 0),
            cpus_per_trial=resources.cpus_per_trial,
        )
        return resources.model_copy(update={"memory_gib_per_trial": sharing.memory_gib_per_trial}), sharing
    having = [node for node in nodes if node.get("GPU", 0) > 0]
    if not having:
        raise RunStoppedError("the machines with GPUs have left the cluster since one was measured; resume the sweep")
    ram_bytes = int(max(node.get("memory", 0) / node["GPU"] for node in having))  # Ray holds machines of less to it
    known = [(int(gpu["memory"]), str(gpu["name"])) for gpu in gpus]
    if peak.device is not None:
        known.append((peak.device.total_bytes, peak.device.name))
        peak_bytes = peak.device.peak_bytes
    else:  # PyTorch does not see the device that Ray counts: the trials share the machine's RAM
        known = [(ram_bytes, "a GPU that PyTorch does not see")]
        peak_bytes = peak.host_bytes
    memory_bytes, name = min(known)  # the smallest, where they differ: any trial may land there
    sharing = share(
        device=name,
        memory_bytes=memory_bytes,
        peak_bytes=peak_bytes,
        ram_bytes=ram_bytes,
        ram_peak_bytes=peak.host_bytes,
        cpus=max(node.get("CPU", 0) / node["GPU"] for node in having),
        cpus_per_trial=resources.cpus_per_trial,
    )
    takes = {"gpus_per_trial": sharing.gpus_per_trial, "memory_gib_per_trial": sharing.memory_gib_per_trial}
    return resources.model_copy(update=takes), sharing


def costliest(spec: SweepSpec) -> list[TrialConfig]:
    """Return the configurations to measure: of each objective and optimizer, the one with the largest pass."""
    found: dict[tuple[str, tuple[int, int], str, bool], TrialConfig] = {}
    for config in spec.corner_configs:
        passes = OBJECTIVES[config.objective].passes(config.objective_settings)
        kind = (config.objective, passes, config.optimizer, config.momentum > 0)
        if kind not in found or _examples(config) > _examples(found[kind]):
            found[kind] = config
    return list(found.values())


def _examples(config: TrialConfig) -> int:
    """Count the examples of one forward and backward pass."""
    return min(config.batch_size, config.micro_batch_size or config.batch_size)


def measure(spec: SweepSpec, workload: Any) -> Any:
    """Start measuring one trial's peak, on a whole GPU where trials have GPUs; return its Ray reference.

    Args:
        spec: the sweep.
        workload: the Ray reference of its ``Workload``.
    """
    resources = spec.resources
    probe = ray.remote(
        num_cpus=resources.cpus_per_trial,
        num_gpus=1 if resources.gpus_per_trial else 0,
        max_retries=resources.max_failures,
        runtime_env=_FRESH_PROCESS,
    )(_measure_peak.as_function())
    return probe.remote(workload, costliest(spec))
