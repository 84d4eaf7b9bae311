"""Reading a sweep's inputs: its data is drawn or read, and tokenized; its models are named. It loads PyTorch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from orchestrator.errors import SweepError
from orchestrator.preparation.inputs import SweepInputs
from orchestrator.preparation.model_identity import datasets_of, model_tasks, workload_hash
from orchestrator.preparation.scored_tokens import scored_sets
from orchestrator.spec import SweepSpec, dated, settled_lengths, settled_sizes, unbounded
from trainables.data import Datasets, Example, text_key
from trainables.encoding import EncodedSet, asks_for_the_date
from trainables.preparation import encode_retained, prepare_tokenizer, tokens_hash


def read_replicates(spec: SweepSpec, replicates: Sequence[int], chat_date: date | None) -> Sequence[SweepInputs]:
    """Return the inputs of some replicates: see ``SweepInputs.of``.

    Raises:
        SweepError: replicates would be alike.
        UnlearningError: the data cannot be used, or an example cannot be scored or trained on.
    """
    read = [_read(spec.of_replicate(replicate), replicate, chat_date) for replicate in replicates]
    _require_draws(read)
    lengths = {
        f"{where}{f' (replicate {own.replicate})' if own.replicate else ''}": encoded
        for own in read
        for where, encoded in {**own.encoded, **own.retained}.items()
    }
    settled = [settled_lengths(own.spec, lengths) for own in read]  # one limit for all
    return [own.settled(spec, notes) for own, (spec, notes) in zip(read, settled, strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A replicate whose data was read and tokenized, with its spec before the length of examples is settled."""

    spec: SweepSpec
    replicate: int
    datasets: Datasets
    tokenizer: Any
    encoded: Mapping[str, EncodedSet]
    retained: Mapping[str, EncodedSet]
    notes: Sequence[str]
    chat_date: date | None

    def settled(self, spec: SweepSpec, notes: Iterable[str]) -> SweepInputs:
        """Return the inputs, given the settled spec and notes on it."""
        tasks = model_tasks(spec, self.datasets, replicate=self.replicate)
        return SweepInputs(
            spec=spec,
            replicate=self.replicate,
            datasets=self.datasets,
            tasks=tasks,
            workload_hash=workload_hash(spec, self.datasets, tasks),
            tokenizer=self.tokenizer,
            encoded=self.encoded,
            retained=self.retained,
            notes=(*self.notes, *notes),
            tokens_hash=tokens_hash(self.encoded),
            chat_date=self.chat_date,
        )


def _read(spec: SweepSpec, replicate: int, chat_date: date | None) -> _Read:
    """Draw or read and tokenize the data of a replicate, given its spec."""
    datasets = datasets_of(spec)
    spec, notes = settled_sizes(spec, len(datasets.retain))
    tokenizer = prepare_tokenizer(spec.model, datasets)
    if not (spec.model.chat_template and asks_for_the_date(tokenizer)):
        chat_date = None
    reading = dated(unbounded(spec), chat_date)
    return _Read(
        spec=spec,
        replicate=replicate,
        datasets=datasets,
        tokenizer=tokenizer,
        encoded=scored_sets(reading, datasets, tokenizer),
        retained=encode_retained(tokenizer, datasets, model=reading.model, data=reading.data),
        notes=notes,
        chat_date=chat_date,
    )


def _require_draws(read: Sequence[_Read]) -> None:
    """Make sure that replicates differ in more than orders.

    Raises:
        SweepError: they have the same models, and the same examples in the same sets.
    """
    first, *others = read
    if not others or first.spec.preparation.epochs > 0:  # models are trained anew in each
        return
    if _examples(first.datasets) == _examples(others[0].datasets):
        raise SweepError(
            f"replicates: {first.spec.replicates}, and all of them would be alike: preparation.epochs: 0 takes the "
            f"models as they are, and every set takes all that its source has, so nothing but the order of batches "
            f"differs, which 'seeds' vary. Set replicates: 1; or have sets drawn from larger sources (size, heldout, "
            f"population), or models trained (preparation.epochs)"
        )


def _examples(datasets: Datasets) -> dict[str, bytes]:
    """Return what is in each set, whatever its order. Of a large set, the texts are never in memory together."""
    sets: dict[str, Sequence[Example]] = {
        "heldout": datasets.heldout,
        "retain": datasets.retain,
        **datasets.evaluation,
    }
    for name, own in datasets.forget_sets.items():
        sets |= {f"{name}.forget": own.forget, f"{name}.population": own.population}
    return {
        name: np.sort(np.fromiter((text_key(one.text) for one in examples), np.int64)).tobytes()
        for name, examples in sets.items()
    }
