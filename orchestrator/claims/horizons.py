"""Runs whose schedule depends on their length, as one path.

Each is evaluated at its end alone, and a longer one is another run. The runs of one setting differ in nothing but their
length, so that their ends are points of one curve.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Tables in which all runs of one setting in one stratum have one trial id, and one row of step 0."""

    trials: pa.Table
    evaluations: pa.Table
    examples: pa.Table


def joined_over_horizons(trials: pa.Table, evaluations: pa.Table, examples: pa.Table) -> Paths:
    """Return tables in which the runs of a setting that differ in their length are one trial.

    It has the id and setting of the shortest run, and ended as the longest did. Other trials stay as they are.

    Args:
        trials: with ``trial_id``, ``stratum``, ``config`` and ``horizon``.
        evaluations: of these trials, with ``trial_id``, ``setting_id`` and ``settings``.
        examples: of these trials.
    """
    rows = trials.select(["trial_id", "stratum", "config", "horizon"]).to_pylist()
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for row in rows:
        if row["horizon"] is not None:
            groups.setdefault((row["stratum"], row["config"]), []).append((row["horizon"], row["trial_id"]))
    ids = {trial_id: min(own)[1] for own in groups.values() for _, trial_id in own}
    if not ids:
        return Paths(trials=trials, evaluations=evaluations, examples=examples)
    longest = {max(own)[1] for own in groups.values()}
    ended = pa.array([row["trial_id"] not in ids or row["trial_id"] in longest for row in rows])
    joined = _joined(evaluations, ids)
    settings = {
        row["trial_id"]: row
        for row in evaluations.select(["trial_id", "settings", "setting_id"]).to_pylist()
        if row["trial_id"] in ids.values()
    }
    for column in ("settings", "setting_id"):
        values = [
            settings[trial_id][column] if trial_id in settings else given
            for trial_id, given in zip(joined["trial_id"].to_pylist(), joined[column].to_pylist(), strict=True)
        ]
        joined = joined.set_column(joined.schema.get_field_index(column), column, pa.array(values, pa.string()))
    return Paths(trials=_renamed(trials.filter(ended), ids), evaluations=joined, examples=_joined(examples, ids))


def _joined(table: pa.Table, ids: Mapping[str, str]) -> pa.Table:
    """Return the rows of runs as those of their paths, with those of step 0 of the shortest run alone."""
    others = pa.array([trial_id for trial_id, path in ids.items() if trial_id != path], pa.string())
    repeated = pc.and_(pc.is_in(table["trial_id"], others), pc.equal(table["step"], 0))
    return _renamed(table.filter(pc.invert(repeated)), ids)


def _renamed(table: pa.Table, ids: Mapping[str, str]) -> pa.Table:
    names = pa.array([ids.get(name, name) for name in table["trial_id"].to_pylist()], pa.string())
    return table.set_column(table.schema.get_field_index("trial_id"), "trial_id", names)
