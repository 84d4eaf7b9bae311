"""The sets that a sweep scores, tokenized, and whether every machine tokenizes them alike."""

from typing import Any

from orchestrator.spec import SweepSpec
from trainables.data import Datasets
from trainables.encoding import EncodedSet
from trainables.errors import UnlearningError
from trainables.objectives import OBJECTIVES
from trainables.preparation import encode_scored, tokens_hash


def scored_sets(spec: SweepSpec, datasets: Datasets, tokenizer: Any) -> dict[str, EncodedSet]:
    """Return every set that the sweep scores, tokenized, by where it comes from.

    Raises:
        UnlearningError: an example cannot be scored.
    """
    return encode_scored(
        tokenizer,
        datasets,
        model=spec.model,
        data=spec.data,
        evaluation=spec.evaluation,
        alternates=needs_alternates(spec),
    )


def needs_alternates(spec: SweepSpec) -> bool:
    """Return whether an objective that trials may have needs alternate answers."""
    return any(OBJECTIVES[config.objective].needs_alternate for config in spec.corner_configs)


def require_tokens(spec: SweepSpec, datasets: Datasets, tokenizer: Any, expected: str | None, *, whose: str) -> None:
    """Check that a tokenizer encodes the scored sets as the driver's does. A worker may have another version.

    Args:
        spec: the spec of the sweep.
        datasets: the data of the sweep.
        tokenizer: the tokenizer of this machine, or of the cache.
        expected: the hash of the driver's tokens; None: not known, and nothing is checked.
        whose: the origin of the tokenizer, for the message.

    Raises:
        UnlearningError: the tokens differ.
    """
    found = tokens_hash(scored_sets(spec, datasets, tokenizer)) if expected is not None else None
    if found != expected:
        raise UnlearningError(
            f"{whose} encodes the data otherwise than the tokenizer of the machine that drives the sweep (tokens_hash "
            f"{str(found)[:12]}, there {str(expected)[:12]}); install the same versions of transformers and tokenizers "
            f"on every machine, and name one version of a hub model (model.revision: a commit)"
        )
