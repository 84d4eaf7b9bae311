"""What a probe is, what it is given, and what it finds. It loads no PyTorch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainables.config import Config, EvaluationConfig, ModelConfig
from trainables.data import Example
from trainables.records import EvaluationRecord

if TYPE_CHECKING:
    from trainables.metrics import EvaluationSets


@dataclass(frozen=True, kw_only=True)
class ProbedModel:
    """A model to try something on. A probe leaves it as it was, bit for bit, once its records are all taken."""

    model: Any
    """The model on its device, without the wrapper of a worker group, with the weights that were evaluated."""
    tokenizer: Any
    role: str
    """Whose model it is: ``unlearned``, ``base``, ``reference-0``, ..."""
    sets: "EvaluationSets"
    """Of its forget set; for a reference model, without its own scores among the references'."""
    forget: Sequence[Example]
    """Texts of ``sets.forget``, in its order."""
    heldout: Sequence[Example]
    retain: Sequence[Example]
    """Retained texts; more of them than ``sets.retain`` has, where there are more."""
    population: Sequence[Example] = ()
    """Texts of ``sets.population``, in its order; ``rewording`` needs them."""
    compared_models: Callable[[], Iterator[Any]] = lambda: iter(())
    """Yields the base model, then the reference models of ``sets.references`` in their order, each on the model's
    device. ``rewording`` scores its texts under them; without them these have no generalized exposure."""
    config: ModelConfig
    evaluation: EvaluationConfig
    max_tokens: int
    """The longest example that is allowed."""
    seed: int
    """Of all that a probe draws. Records of two models are comparable if they are of the same seed."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One measurement, as a probe yields it; ``run_probe`` adds whose it is and how long it took."""

    variant: str
    """What was tried: ``in-domain``, ``int4``, ``dropped-words``, a task's name, ..."""
    amount: float | None = None
    """How much of it: fine-tuning steps, bits, ...; None: the variant has no amount."""
    before: EvaluationRecord | None = None
    """Of the same examples, before the probe."""
    after: EvaluationRecord | None = None
    """None: the probe measures something else, or the model diverged (score ``diverged``)."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """What has no column in an evaluation; each probe describes its own."""


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """One measurement of a probe on one model.

    ``step`` and ``tokens_seen`` of ``after`` are those of the probe's own fine-tuning, and 0 in ``before``;
    ``elapsed_s`` is 0 in both, since the time that a measurement took stands here.
    """

    probe: str
    """Its name in ``PROBES``."""
    role: str
    """See ``ProbedModel``."""
    variant: str
    """See ``Finding``."""
    amount: float | None
    before: EvaluationRecord | None
    after: EvaluationRecord | None
    scores: Mapping[str, float]
    elapsed_s: float
    """Seconds since the probe began or went on after its last record."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A registered probe."""

    run: Callable[[ProbedModel, Any], Iterator[Finding]]
    """A function of the model and of an instance of the probe's settings class. It leaves the model as it was."""
    source: str
    """Paper or project."""
    settings: type[Config]
    """The class that declares and validates its settings."""
    look_for: Callable[..., Any] | None = None
    """Called with the settings and ``trusted`` (whether code of others may run) before any work is done: raises
    ``UnlearningError`` where they ask for what is not there. None: they ask for nothing."""
    requires: tuple[str, str] | None = None
    """A package that it cannot do without, by the name that is imported, and our extra that installs it."""
