"""What a sweep's numbers follow from, as it is at present: data, models, and the hash of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from orchestrator import provenance
from orchestrator.preparation import ModelTask, datasets_of, model_tasks, scored_sets, workload_hash
from orchestrator.settled import settled_lengths, settled_sizes, unbounded
from orchestrator.spec import SweepSpec
from trainables.batching import EncodedSet
from trainables.chat import asks_for_the_date
from trainables.decks import SetSizes, Sizes
from trainables.forget_sets import Datasets
from trainables.prepare import prepare_tokenizer
from trainables.scored_sets import encode_retained, tokens_hash


@dataclass(frozen=True, kw_only=True)
class SweepInputs:
    """Drawn or read from a spec; nothing is trained."""

    spec: SweepSpec
    """With the numbers that its defaults leave to the data."""
    datasets: Datasets
    tasks: list[ModelTask]
    workload_hash: str
    tokenizer: Any = None
    encoded: Mapping[str, EncodedSet] = field(default_factory=dict)
    """Every set that is scored, by where it comes from."""
    retained: Mapping[str, EncodedSet] = field(default_factory=dict)
    """The retain set, or of a large one what was looked at, by where it comes from."""
    notes: tuple[str, ...] = ()
    """Which defaults took what there is."""
    tokens_hash: str | None = None
    """Of ``encoded``: it differs where the data, the tokenizer, its chat template or the date that this is told do."""
    chat_date: date | None = None
    """What a chat template is told, where the spec gives no date."""

    @staticmethod
    def of(spec: SweepSpec, *, chat_date: date | None = None) -> "SweepInputs":
        """Draw or read the data, name the models, and tokenize what is scored.

        Args:
            spec: of the sweep.
            chat_date: what a chat template is told, where the spec gives no date. It is no part of any identity.

        Raises:
            UnlearningError: the data cannot be used, or an example cannot be scored or trained on.
        """
        datasets = datasets_of(spec)
        spec, notes = settled_sizes(spec, datasets)
        tokenizer = prepare_tokenizer(spec.model, datasets)
        if not (spec.model.chat_template and asks_for_the_date(tokenizer)):
            chat_date = None
        reading = _dated(unbounded(spec), chat_date)
        encoded = scored_sets(reading, datasets, tokenizer)
        retained = encode_retained(tokenizer, datasets, model=reading.model, data=reading.data)
        spec, more = settled_lengths(spec, {**encoded, **retained})
        tasks = model_tasks(spec, datasets)
        return SweepInputs(
            spec=spec,
            datasets=datasets,
            tasks=tasks,
            workload_hash=workload_hash(spec, datasets, tasks),
            tokenizer=tokenizer,
            encoded=encoded,
            retained=retained,
            notes=(*notes, *more),
            tokens_hash=tokens_hash(encoded),
            chat_date=chat_date,
        )

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
        return _dated(self.spec, self.chat_date)

    def manifest(self) -> dict[str, Any]:
        """Describe them for ``sweep.json``."""
        described = provenance.manifest(self.spec, self.datasets, self.tasks, workload=self.workload_hash)
        return {**described, "tokens_hash": self.tokens_hash}


def _dated(spec: SweepSpec, chat_date: date | None) -> SweepSpec:
    if chat_date is None or spec.model.chat_date is not None:
        return spec
    return spec.model_copy(update={"model": spec.model.model_copy(update={"chat_date": chat_date})})
