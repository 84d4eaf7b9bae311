"""How much memory a trial takes at its peak, measured by running the most expensive trials that may come up."""

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
from trainables.optim import OPTIMIZERS, SCHEDULES, Horizon
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Trial
from trainables.trial.engine import Engine
from trainables.trial.trial_run import TrialRun
from trainables.trial.workload import Workload

PROBE_STEPS = 3
"""Steps of a probe. The second is the first that runs beside a full optimizer state; the third is for caches."""
_PROBE = "memory-probe"
"""Trial id and forget set of a probe."""
_HARMLESS_RATE = 1e-9
"""Learning rate of a probe: it must not diverge, and takes the same memory at any rate."""


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Memory of an accelerator."""

    name: str
    peak_bytes: int
    """Bytes that one trial's process takes at its peak, including the CUDA context."""
    total_bytes: int
    """Bytes that the accelerator has."""


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """Memory that one trial's process takes at its peak."""

    host_bytes: int
    """Bytes of RAM of its own. Libraries, and base weights in Ray's object store, are shared and not counted."""
    device: DeviceMemory | None
    """Memory of its accelerator; None: there is none."""


def measure_peak(workload: Workload, configs: Sequence[TrialConfig]) -> PeakMemory:
    """Measure the peak of a trial of each configuration: a few steps, an evaluation and a checkpoint.

    The trials run one after another on the largest batches that may come up, in one engine, as in a reused worker. Call
    it in a process that has done nothing else, since an earlier peak cannot be told from this one.

    Raises:
        UnlearningError: a trial does not fit the accelerator even alone; the message says what to lower.
    """
    try:
        engine = Engine(workload)
        for config in sorted(configs, key=_uses_base, reverse=True):  # a frozen base model stays for all that follow
            engine.workload = heaviest(workload, config)
            _run(engine, config)
    except torch.OutOfMemoryError as error:
        largest = max(config.batch_size for config in configs)
        raise UnlearningError(
            f"resources.concurrent_trials: auto: a trial alone on a whole GPU runs out of its memory ({error}); lower "
            f"batch_size (up to {largest}) or set micro_batch_size in search.space, or lower evaluation.batch_size "
            f"({workload.evaluation.batch_size})"
        ) from None
    mapped = psutil.Process().memory_info().shared  # object store and libraries: once for all processes
    return PeakMemory(
        host_bytes=_peak_resident_bytes() - mapped,
        device=device_memory(engine.accelerator.device),
    )


def _run(engine: Engine, config: TrialConfig) -> None:
    """Run a probe of a configuration to its outcome, and make a checkpoint of it."""
    periods = [name for name in OPTIMIZERS[config.optimizer].own_settings if name.endswith("_every")]
    changes = {
        "learning_rate": _HARMLESS_RATE,
        # what the optimizer does only every so many steps, it does in every step of the probe
        "optimizer_settings": config.optimizer_settings | dict.fromkeys(periods, 1.0),
    }
    trial = Trial(
        trial_id=_PROBE,
        forget_set=_PROBE,
        seed=0,
        config=config.model_copy(update=changes),
        steps=(PROBE_STEPS,),
        horizon=PROBE_STEPS if SCHEDULES[config.schedule].horizon is Horizon.FIXED else None,
    )
    run = TrialRun(engine, trial, _NullSink())
    while run.outcome is None:
        run.advance()
    run.checkpoint()


def heaviest(workload: Workload, config: TrialConfig) -> Workload:
    """Return a workload of one forget set, whose batches are the largest that a trial of this configuration may meet.

    Batches are padded to their longest example. So that example is repeated for all others of the forget set, which
    makes every micro-batch as large as the largest. Evaluations score the largest of all forget sets' sets.
    """
    examples = min(config.batch_size, config.micro_batch_size or config.batch_size)  # in one pass
    sets = workload.evaluation_sets.values()
    own = max(sets, key=lambda own: _padded_tokens(own.forget, examples))
    scored = [part for own in sets for part in (own.forget, own.population, own.distractors) if part is not None]
    scored += [part for own in sets for answers in own.answers.values() for part in answers.parts]
    ascended = [own.forget.longest] * min(config.batch_size, len(own.forget))
    population = max(scored, key=lambda part: (_padded_tokens(part, workload.evaluation.batch_size), len(part)))
    probe = replace(
        own.with_examples(forget=ascended),
        population=population,
        texts={
            "forget": ("",) * len(ascended),
            "population": ("",) * len(population),
            "heldout": ("",) * len(own.heldout),
        },
        references=(),  # what is known of the population that is replaced
    )
    alternates = {}
    if workload.alternates:
        longest = max(workload.alternates.values(), key=lambda other: _padded_tokens(other, 1))
        alternates = {_PROBE: longest.select([longest.longest] * len(ascended))}
    retained = [workload.retain.longest] * min(len(ascended), len(workload.retain))
    return replace(
        workload, evaluation_sets={_PROBE: probe}, retain=workload.retain.select(retained), alternates=alternates
    )


def _uses_base(config: TrialConfig) -> bool:
    return OBJECTIVES[config.objective].uses_base(config.objective_settings)


def _padded_tokens(encoded: EncodedSet, batch_size: int) -> int:
    """Count the tokens of the largest batch, padding included."""
    return min(batch_size, len(encoded)) * int(np.diff(encoded.offsets).max())


def _peak_resident_bytes() -> int:
    """Return the peak of this program, in bytes. getrusage(2) comes second: it may count the parent's peak."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_memory(device: torch.device) -> DeviceMemory | None:
    """Return what this process takes of an accelerator; None for the CPU.

    PyTorch counts what it reserves, and not the CUDA context: that is what else is taken now.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    context = total - free - torch.cuda.memory_reserved(device)
    return DeviceMemory(
        name=torch.cuda.get_device_name(device),
        peak_bytes=torch.cuda.max_memory_reserved(device) + context,
        total_bytes=total,
    )


class _NullSink:
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

    def save_trace(self, trial_id: str, trace: bytes) -> None:
        pass

    def stopping(self) -> bool:
        return False

    def verdict(self, trial_id: str) -> str | None:
        return None
