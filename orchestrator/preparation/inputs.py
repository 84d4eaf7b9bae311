"""What a sweep's numbers follow from, as it is at present: data, models, and the hash of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from orchestrator.preparation import provenance
from orchestrator.preparation.tasks import ModelTask
from orchestrator.spec import SweepSpec, dated
from trainables.data import Datasets, SetSizes, Sizes
from trainables.deferred import Deferred

if TYPE_CHECKING:
    from trainables.encoding import EncodedSet

_read_inputs = Deferred("orchestrator.preparation.input_reading", "read_inputs")


@dataclass(frozen=True, kw_only=True)
class SweepInputs:
    """Drawn or read from a spec; nothing is trained."""

    spec: SweepSpec
    """With the numbers that its defaults leave to the data."""
    datasets: Datasets
    tasks: list[ModelTask]
    workload_hash: str
    tokenizer: Any = None
    encoded: Mapping[str, "EncodedSet"] = field(default_factory=dict)
    """Every set that is scored, by where it comes from."""
    retained: Mapping[str, "EncodedSet"] = field(default_factory=dict)
    """The retain set, or of a large one what was looked at, by where it comes from."""
    notes: tuple[str, ...] = ()
    """Which defaults took what there is."""
    tokens_hash: str | None = None
    """Of ``encoded``: it differs where the data, the tokenizer, its chat template or the date that this is told do."""
    chat_date: date | None = None
    """What a chat template is told, where the spec gives no date."""

    @staticmethod
    def of(spec: SweepSpec, *, chat_date: date | None = None) -> "SweepInputs":
        """Draw or read the data, name the models, and tokenize what is scored. It loads PyTorch.

        Args:
            spec: of the sweep.
            chat_date: what a chat template is told, where the spec gives no date. It is no part of any identity.

        Raises:
            UnlearningError: the data cannot be used, or an example cannot be scored or trained on.
        """
        inputs: SweepInputs = _read_inputs(spec, chat_date)
        return inputs

    def without_tokens(self) -> "SweepInputs":
        """Return what goes between processes: without the tokenizer, and what it has made of the texts."""
        return replace(self, tokenizer=None, encoded={}, retained={})

    @property
    def sizes(self) -> Sizes:
        """How many examples each set has."""
        sets = self.datasets.forget_sets.items()
        return Sizes(
            retain=len(self.datasets.retain),
            heldout=len(self.datasets.heldout),
            forget_sets={
                name: SetSizes(forget=len(s.forget), population=len(s.population), distractors=len(s.distractors))
                for name, s in sets
            },
        )

    @property
    def dated(self) -> SweepSpec:
        """The spec with the date that a chat template is told: what data is tokenized by."""
        return dated(self.spec, self.chat_date)

    def manifest(self) -> dict[str, Any]:
        """Describe them for ``sweep.json``."""
        described = provenance.manifest(self.spec, self.datasets, self.tasks, workload=self.workload_hash)
        return {**described, "tokens_hash": self.tokens_hash}
