"""How much memory a trial takes at its peak, found out by running the most expensive ones that may come up."""

import contextlib
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch

from trainables.config import TrialConfig
from trainables.encoding import EncodedSet
from trainables.errors import UnlearningError
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS, SCHEDULES
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Trial
from trainables.trial.engine import Engine, TrialRun, Workload

PROBE_STEPS = 3
"""The second step is the first that runs beside a full optimizer state; one more, for what a cache keeps."""
_PROBE = "memory-probe"
_HARMLESS_RATE = 1e-9
"""Learning rate of the probe: it must not diverge, and takes the same memory at any rate."""


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Of an accelerator."""

    name: str
    peak_bytes: int
    """What one trial's process takes of it at its peak, the context included."""
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """What one trial's process takes at its peak."""

    host_bytes: int
    """RAM of its own: libraries, and base weights in Ray's object store, are there once for all and not counted."""
    device: DeviceMemory | None
    """None: there is no accelerator."""


def measure_peak(workload: Workload, configs: Sequence[TrialConfig]) -> PeakMemory:
    """Run a trial of each configuration for a few steps, with an evaluation and a checkpoint, one after another.

    They run on the largest batches that may come up, in one engine, as in a reused worker. Call it in a process that
    has done nothing else: a peak of before cannot be told from its own.

    Raises:
        UnlearningError: not even one trial fits the accelerator.
    """
    try:
        engine = Engine(workload)
        for config in sorted(configs, key=_refers, reverse=True):  # a reference model that one needs stays for all
            engine.workload = heaviest(workload, config)
            _run(engine, config)
    except torch.OutOfMemoryError as error:
        largest = max(config.batch_size for config in configs)
        raise UnlearningError(
            f"resources.concurrent_trials: auto: a trial alone on a whole GPU runs out of its memory ({error}); lower "
            f"batch_size (up to {largest}) or set micro_batch_size in search.space, or lower evaluation.batch_size "
            f"({workload.evaluation.batch_size})"
        ) from None
    mapped = psutil.Process().memory_info().shared  # of the object store and of libraries: once for all processes
    return PeakMemory(
        host_bytes=_peak_resident_bytes() - mapped,
        device=device_memory(engine.accelerator.device),
    )


def _run(engine: Engine, config: TrialConfig) -> None:
    rare = [name for name in OPTIMIZERS[config.optimizer].own_settings if name.endswith("_every")]
    changes = {
        "learning_rate": _HARMLESS_RATE,
        "optimizer_settings": config.optimizer_settings | dict.fromkeys(rare, 1.0),  # what it does now and then, too
    }
    trial = Trial(
        trial_id=_PROBE,
        forget_set=_PROBE,
        seed=0,
        config=config.model_copy(update=changes),
        steps=(PROBE_STEPS,),
        horizon=PROBE_STEPS if SCHEDULES[config.schedule].needs_horizon else None,
    )
    run = TrialRun(engine, trial, _Nowhere())
    while run.outcome is None:
        run.advance()
    run.checkpoint()


def heaviest(workload: Workload, config: TrialConfig) -> Workload:
    """Give a workload of one forget set, whose batches are the largest that a trial of this configuration may meet.

    Batches are padded to their longest example, so that example stands for all of its batch: then every micro-batch is
    as large as the largest. Its evaluations score the set of all forget sets that takes most.
    """
    examples = min(config.batch_size, config.micro_batch_size or config.batch_size)  # of one pass
    sets = workload.evaluation_sets.values()
    own = max(sets, key=lambda own: _padded_tokens(own.forget, examples))
    scored = [part for own in sets for part in (own.forget, own.population, own.distractors) if part is not None]
    ascended = [own.forget.longest] * min(config.batch_size, len(own.forget))
    probe = replace(
        own,
        forget=own.forget.select(ascended),
        population=max(scored, key=lambda part: (_padded_tokens(part, workload.evaluation.batch_size), len(part))),
        base_logp_N=own.base_logp_N[ascended],
        reference_logp_SN=own.reference_logp_SN[:, ascended],
    )
    alternates = {}
    if workload.alternates:
        longest = max(workload.alternates.values(), key=lambda other: _padded_tokens(other, 1))
        alternates = {_PROBE: longest.select([longest.longest] * len(ascended))}
    retained = [workload.retain.longest] * min(len(ascended), len(workload.retain))
    return replace(
        workload, evaluation_sets={_PROBE: probe}, retain=workload.retain.select(retained), alternates=alternates
    )


def _refers(config: TrialConfig) -> bool:
    return OBJECTIVES[config.objective].uses_base(config.objective_weights)


def _padded_tokens(encoded: EncodedSet, batch_size: int) -> int:
    """Count the tokens of the largest batch, padding included."""
    return min(batch_size, len(encoded)) * int(np.diff(encoded.offsets).max())


def _peak_resident_bytes() -> int:
    """Give the peak of this program; getrusage(2) would tell of the process that started it, if that was larger."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_memory(device: torch.device) -> DeviceMemory | None:
    """Measure what this process takes: what PyTorch reserved at its peak, and the context, which it does not count."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    context = total - free - torch.cuda.memory_reserved(device)
    return DeviceMemory(
        name=torch.cuda.get_device_name(device),
        peak_bytes=torch.cuda.max_memory_reserved(device) + context,
        total_bytes=total,
    )


class _Nowhere:
    """A ``TrialSink`` that keeps nothing."""

    def publish(
        self, trial_id: str, evaluations: list[EvaluationRecord], examples: list[ExampleRecord], outcome: Outcome | None
    ) -> None:
        pass

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        return [], []

    def save_checkpoint(self, key: str, payload: bytes) -> None:
        pass

    def load_checkpoint(self, key: str) -> bytes | None:
        return None

    def discard_checkpoint(self, key: str) -> None:
        pass

    def stopping(self) -> bool:
        return False

    def verdict(self, trial_id: str) -> str | None:
        return None
