"""The inputs that a sweep's numbers depend on, as they are now: data, models, and the hash of both."""

from collections.abc import Mapping, Sequence
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

_read_replicates = Deferred("orchestrator.preparation.input_reading", "read_replicates")


@dataclass(frozen=True, kw_only=True)
class SweepInputs:
    """The inputs of one replicate of a sweep, drawn or read by its spec. Nothing is trained."""

    spec: SweepSpec
    """The spec of the replicate (``SweepSpec.of_replicate``), with the numbers that its defaults derive from the
    data."""
    replicate: int = 0
    datasets: Datasets
    tasks: list[ModelTask]
    workload_hash: str
    tokenizer: Any = None
    encoded: Mapping[str, "EncodedSet"] = field(default_factory=dict)
    """Every set that is scored, by where it comes from, such as ``data.heldout``."""
    retained: Mapping[str, "EncodedSet"] = field(default_factory=dict)
    """The retain set by where it comes from; of a large one, the part that was tokenized."""
    notes: tuple[str, ...] = ()
    """Descriptions of defaults that were reduced to what the data has."""
    tokens_hash: str | None = None
    """Hash of ``encoded``: it changes with the data, the tokenizer, its chat template, and the date that this gets."""
    chat_date: date | None = None
    """The date that a chat template gets if the spec gives none."""

    @staticmethod
    def of(spec: SweepSpec, *, replicate: int = 0, chat_date: date | None = None) -> "SweepInputs":
        """Draw or read the data of a replicate, name its models, and tokenize the scored sets. It loads PyTorch.

        Args:
            spec: the spec of the sweep.
            replicate: number of the replicate.
            chat_date: the date that a chat template gets if the spec gives none. It is not part of any identity.

        Raises:
            UnlearningError: the data cannot be used, or an example cannot be scored or trained on.
        """
        (inputs,) = _read_replicates(spec, [replicate], chat_date)
        return inputs  # type: ignore[no-any-return]  # read where PyTorch is loaded

    @staticmethod
    def of_all(spec: SweepSpec, *, chat_date: date | None = None) -> "Sequence[SweepInputs]":
        """Return the inputs of every replicate: see ``of``.

        Raises:
            SweepError: replicates would be alike.
            UnlearningError: as ``of``.
        """
        inputs: Sequence[SweepInputs] = _read_replicates(spec, range(spec.replicates), chat_date)
        return inputs

    def without_tokens(self) -> "SweepInputs":
        """Return the inputs as processes send them: without the tokenizer and its tokens."""
        return replace(self, tokenizer=None, encoded={}, retained={})

    @property
    def sizes(self) -> Sizes:
        """The number of examples of each set."""
        sets = self.datasets.forget_sets.items()
        return Sizes(
            retain=len(self.datasets.retain),
            heldout=len(self.datasets.heldout),
            forget_sets={
                name: SetSizes(forget=len(s.forget), population=len(s.population), distractors=len(s.distractors))
                for name, s in sets
            },
            evaluation={name: len(own) for name, own in self.datasets.evaluation.items()},
        ).with_buckets(self.spec.data)

    @property
    def dated(self) -> SweepSpec:
        """The spec with the date that a chat template gets, by which data is tokenized."""
        return dated(self.spec, self.chat_date)

    def facts(self) -> dict[str, Any]:
        """Return the description of data and models for ``sweep.json``."""
        described = provenance.facts(self.datasets, self.tasks, workload=self.workload_hash)
        return {**described, "tokens_hash": self.tokens_hash}


def manifest_of(replicates: Sequence[SweepInputs]) -> dict[str, Any]:
    """Return the description of a sweep for ``sweep.json``: the first replicate's facts, and those of the others."""
    first, *others = replicates
    described = {**provenance.outline(first.spec), **first.facts()}
    return {**described, "replicates": {str(own.replicate): own.facts() for own in others}} if others else described
