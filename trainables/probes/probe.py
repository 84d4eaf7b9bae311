"""What a probe is, what it takes and what it finds. It loads no PyTorch. Stub."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.config import Config, EvaluationConfig, ModelConfig
from trainables.data import Example
from trainables.deferred import Deferred
from trainables.records import EvaluationRecord

if TYPE_CHECKING:
    from trainables.metrics import EvaluationSets


@dataclass(frozen=True, kw_only=True)
class ProbedModel:
    """A model to try something on; a probe may change it in place."""

    model: Any
    tokenizer: Any
    role: str
    sets: "EvaluationSets"
    forget: Sequence[Example]
    heldout: Sequence[Example]
    retain: Sequence[Example]
    config: ModelConfig
    evaluation: EvaluationConfig
    max_tokens: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """One measurement of a probe."""

    probe: str
    role: str
    variant: str
    amount: float | None
    before: EvaluationRecord | None
    after: EvaluationRecord | None
    scores: Mapping[str, float]
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probe."""

    run: Deferred
    source: str
    settings: type[Config]
