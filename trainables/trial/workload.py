"""What all trials of a replicate share: the base model, encoded data, and how they are evaluated, saved and stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainables.config import CheckpointConfig, EvaluationConfig, Parallelism, Precision, StopConfig
from trainables.encoding import BatchSource, EncodedSet
from trainables.metrics import EvaluationSets
from trainables.models import WeightsSnapshot
from trainables.plugins import PluginFile


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What all trials of a replicate share. Its arrays are NumPy's, so that workers map it instead of copying it."""

    base: WeightsSnapshot
    """The base model."""
    evaluation_sets: Mapping[str, EvaluationSets]
    """By forget set."""
    retain: BatchSource
    """The retain set of objectives that need one."""
    alternates: Mapping[str, EncodedSet] = field(default_factory=dict)
    """By forget set, its examples with other answers; empty where no objective needs them."""
    evaluation: EvaluationConfig
    checkpoint: CheckpointConfig
    precision: Precision
    stop: StopConfig = field(default_factory=StopConfig)
    """When a trial ends early. The performance floor is also in the evaluation sets."""
    threads: int
    """Intra-op threads of PyTorch: pinned, since another number rounds otherwise."""
    parallelism: Parallelism = "ddp"
    """How several workers share a trial's model."""
    gradient_checkpointing: bool = False
    """Whether the backward pass computes activations again instead of keeping them."""
    plugins: tuple[PluginFile, ...] = ()
    """Files that register what trials name: a process that gets the workload knows of them."""
    use_gpu: bool = True
    """Whether a GPU is used where there is one. Where a trial asked for none, a GPU belongs to another trial."""
