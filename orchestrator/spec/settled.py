"""What a spec leaves open, and data or models settle: sizes and lengths that the data has, repetitions that match.

A number that the user gave is kept; elsewhere it is refused if the data has less. The spec that is stored with a sweep
holds the settled numbers.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.ledger import Ledger
from orchestrator.spec.loading import stored_spec
from orchestrator.spec.sweep_spec import SweepSpec
from trainables.config import Config, DataConfig

if TYPE_CHECKING:
    from trainables.encoding import EncodedSet

UNBOUNDED_TOKENS = 2**31 - 1
"""Length of the longest example while the user has set no limit and the lengths are not known yet."""


def settled_sizes(spec: SweepSpec, there: int) -> tuple[SweepSpec, list[str]]:
    """Return the spec with no more retained examples to measure than there are, and notes on what was changed."""
    default = spec.data.retain_evaluation
    if not _is_open(spec.data, "retain_evaluation") or default <= there:
        return spec, []
    return _with_data(spec, retain_evaluation=there), [
        f"data.retain_evaluation: {default} unless set, and there are {there} retained examples: all of them are taken"
    ]


def unbounded(spec: SweepSpec) -> SweepSpec:
    """Return the spec without a limit on the length of examples, unless the user has set one."""
    return _with_data(spec, max_tokens=UNBOUNDED_TOKENS) if _is_open(spec.data, "max_tokens") else spec


def settled_lengths(spec: SweepSpec, encoded: Mapping[str, "EncodedSet"]) -> tuple[SweepSpec, list[str]]:
    """Return the spec with room for the longest example, and notes on what was changed."""
    lengths = {where: int(np.diff(own.offsets).max()) for where, own in encoded.items() if len(own)}
    default = spec.data.max_tokens
    if not _is_open(spec.data, "max_tokens") or not lengths or max(lengths.values()) <= default:
        return spec, []
    where = max(lengths, key=lengths.__getitem__)
    return _with_data(spec, max_tokens=lengths[where]), [
        f"data.max_tokens: {default} unless set, and {where} has an example of {lengths[where]} tokens: that is taken; "
        f"set it to have longer examples refused"
    ]


def with_repetitions(spec: SweepSpec, repetitions: Mapping[str, Sequence[int]], *, settled: bool = False) -> SweepSpec:
    """Return the spec with other repetitions of its forget sets.

    Args:
        spec: the spec, with ``data.match``, which is not settled.
        repetitions: by forget set.
        settled: whether these are the ones that were looked for.
    """
    sets = {
        name: own.model_copy(update={"repetitions": tuple(repetitions[name])})
        for name, own in spec.data.forget_sets.items()
    }
    assert spec.data.match is not None
    outcome = {"settled": True, "started_from": _given(spec.data)} if settled else {}
    return _with_data(spec, forget_sets=sets, match=spec.data.match.model_copy(update=outcome))


def keep_repetitions(spec: SweepSpec, ledger: Ledger) -> SweepSpec:
    """Return the spec with the repetitions that were found for an existing sweep, if it is matched in the same way.

    Raises:
        SweepError: the stored spec cannot be read.
    """
    match = spec.data.match
    if match is None or match.settled or ledger.manifest.spec_text() is None:
        return spec
    stored = stored_spec(ledger).data
    outcome = {"settled": True, "started_from": _given(spec.data)}
    if stored.match != match.model_copy(update=outcome) or stored.forget_sets.keys() != spec.data.forget_sets.keys():
        return spec
    return with_repetitions(spec, {name: own.repetitions for name, own in stored.forget_sets.items()}, settled=True)


def _given(data: DataConfig) -> dict[str, int]:
    """Return the repetitions of the sets that are to be matched."""
    return {name: data.forget_sets[name].repetitions[0] for name in data.matched}


def _is_open(config: Config, name: str) -> bool:
    return name not in config.model_fields_set


def _with_data(spec: SweepSpec, **values: Any) -> SweepSpec:
    data: DataConfig = spec.data.model_copy(update=values)
    return spec.model_copy(update={"data": data})
