"""Defaults that follow the data: what a spec leaves open takes what there is, and says so.

A number that the user gave is kept, and refused elsewhere where there is less. The spec that is stored with a sweep
holds the settled numbers.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.spec.sweep_spec import SweepSpec
from trainables.config import Config, DataConfig

if TYPE_CHECKING:
    from trainables.encoding import EncodedSet

UNBOUNDED_TOKENS = 2**31 - 1
"""Longest example while nobody has said how long one may be, and how long they are is not known yet."""


def settled_sizes(spec: SweepSpec, there: int) -> tuple[SweepSpec, list[str]]:
    """Return the spec with as many retained examples measured as there are, and what there is to say of it."""
    default = spec.data.retain_evaluation
    if not _is_open(spec.data, "retain_evaluation") or default <= there:
        return spec, []
    return _with_data(spec, retain_evaluation=there), [
        f"data.retain_evaluation: {default} unless set, and there are {there} retained examples: all of them are taken"
    ]


def unbounded(spec: SweepSpec) -> SweepSpec:
    """Return the spec without a bound of the length of examples, unless the user has given one."""
    return _with_data(spec, max_tokens=UNBOUNDED_TOKENS) if _is_open(spec.data, "max_tokens") else spec


def settled_lengths(spec: SweepSpec, encoded: Mapping[str, "EncodedSet"]) -> tuple[SweepSpec, list[str]]:
    """Return the spec with room for the longest example, and what there is to say of it."""
    lengths = {where: int(np.diff(own.offsets).max()) for where, own in encoded.items() if len(own)}
    default = spec.data.max_tokens
    if not _is_open(spec.data, "max_tokens") or not lengths or max(lengths.values()) <= default:
        return spec, []
    where = max(lengths, key=lengths.__getitem__)
    return _with_data(spec, max_tokens=lengths[where]), [
        f"data.max_tokens: {default} unless set, and {where} has an example of {lengths[where]} tokens: that is taken; "
        f"set it to have longer examples refused"
    ]


def _is_open(config: Config, name: str) -> bool:
    return name not in config.model_fields_set


def _with_data(spec: SweepSpec, **values: Any) -> SweepSpec:
    data: DataConfig = spec.data.model_copy(update=values)
    return spec.model_copy(update={"data": data})
