"""Checks of rows beyond the types of their columns, so that every reader can rely on what they say.

A file or merged copy whose rows fail a check was not written by this tool, and is left out: see ``table_files``.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from orchestrator.ledger.schema import EXAMPLES_WHO
from trainables.records import ENDED, TIMES, EvaluationRecord, ExampleRecord, Status

_WHO = ("sweep", "trial_id", "stratum", "forget_set", "distribution", "seed", "replicate", "optimizer", "learning_rate")


class StoredProposal(BaseModel):
    """A proposal as the table ``trials`` stores it."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    number: int = Field(ge=0, lt=2**63)
    point: dict[str, str | int | float | bool | None]
    step_index: int = Field(ge=0, lt=2**31)
    notes: dict[str, Any]


class StoredSettings(BaseModel):
    """The settings of a trial that every version stores. ``TrialConfig`` reads all of them to make a model again."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    objective: str
    optimizer: str
    learning_rate: float
    batch_size: int


_PROPOSALS = TypeAdapter(Annotated[list[StoredProposal], Field(min_length=1)])
_SETTINGS = TypeAdapter(StoredSettings)
_PROBE_SETTINGS = TypeAdapter(dict[str, Any])


def _measured(record: type) -> tuple[str, ...]:
    """Return the fields of a record that always have a value."""
    return tuple(name for name, kind in get_type_hints(record).items() if NoneType not in get_args(kind))


_NEEDED: Mapping[str, tuple[str, ...]] = {
    "trials": (*_WHO, "number", "target_step", "config", "proposals", "started_at"),
    "evaluations": (*_WHO, *_measured(EvaluationRecord)),
    "examples": ("trial_id", *EXAMPLES_WHO, *_measured(ExampleRecord)),
    "baselines": ("model", "forget_set", "replicate"),
    "forget_sets": ("forget_set", "replicate", "example_id", "prompt", "completion"),
    "probes": (
        "sweep",
        "forget_set",
        "replicate",
        "role",
        "probe",
        "variant",
        "probe_settings",
        "scores",
        "elapsed_s",
        "host",
        "ended_at",
    ),
}
"""Columns that are never null, by table."""
_COUNTS = ("replicate", "number", "target_step", "last_step", "step", "tokens_seen", "num_tokens", "batch_size")
"""Columns that are never below 0."""
_FINITE = ("learning_rate", "elapsed_s", *TIMES, "amount")
_TIMES = ("started_at", "ended_at")
_STATUSES = ("status", "before_status")
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""The times that are accepted: Parquet can store later ones, which Python cannot."""


def find_problem(name: str, rows: pa.Table) -> str | None:
    """Return what is wrong with rows of the table ``name``, given some or all columns; None: nothing."""
    for column in _NEEDED[name]:
        if column in rows.column_names and rows[column].null_count:
            return f"it has rows without '{column}'"
    for column in _COUNTS:
        if column in rows.column_names and (pc.min(rows[column]).as_py() or 0) < 0:
            return f"'{column}' is below 0"
    for column in _FINITE:
        if column in rows.column_names and pc.all(pc.is_finite(rows[column])).as_py() not in (True, None):
            return f"'{column}' is no finite number"
    for column in _TIMES:
        if column in rows.column_names and _beyond(rows[column]):
            return f"'{column}' is no time between {_FIRST.year} and {_LAST.year}"
    for column in _STATUSES:
        if column in rows.column_names:
            unknown = set(rows[column].unique().to_pylist()) - {None, *Status}
            if unknown:
                return f"'{column}' is {', '.join(map(repr, sorted(unknown)))}; known are {', '.join(Status)}"
    return _OF_TABLES[name](rows) if name in _OF_TABLES else None


def _of_trials(rows: pa.Table) -> str | None:
    if {"status", "last_step"} <= set(rows.column_names):
        ended = pc.is_in(rows["status"], pa.array([status.value for status in sorted(ENDED)]))
        if rows["last_step"].filter(ended).null_count:
            return "a trial ended without 'last_step'"
    for column, kind in (("config", _SETTINGS), ("proposals", _PROPOSALS)):
        for text in rows[column].to_pylist() if column in rows.column_names else ():
            problem = _json_problem(text, kind)
            if problem is not None:
                return f"'{column}' {problem}"
    return _repeated(rows, ("trial_id",))


def _of_evaluations(rows: pa.Table) -> str | None:
    return _repeated(rows, ("trial_id", "step"))


def _of_examples(rows: pa.Table) -> str | None:
    return _repeated(rows, ("trial_id", "step", "example_id"))


def _of_probes(rows: pa.Table) -> str | None:
    """A point has its trial and its step, a control neither."""
    unlearned = pc.equal(rows["role"], "unlearned")
    for column in ("trial_id", "step"):
        if rows[column].filter(unlearned).null_count:
            return f"it has points without '{column}'"
        if pc.any(pc.and_(pc.invert(unlearned), pc.is_valid(rows[column]))).as_py():
            return f"it has models of no trial with '{column}'"
    problems = (_settings_problem(text) for text in rows["probe_settings"].unique().to_pylist())
    problem = next((problem for problem in problems if problem is not None), None)
    key = ("trial_id", "step", "role", "forget_set", "replicate", "probe", "variant", "amount")
    return problem or _repeated(rows, key)


def _settings_problem(text: str) -> str | None:
    problem = _json_problem(text, _PROBE_SETTINGS)
    return None if problem is None else f"'probe_settings' {problem}"


def _of_baselines(rows: pa.Table) -> str | None:
    """Models have performance and exposure, unlike copied sources.

    A reference model has no unlearning quality where there is no other reference to measure it against.
    """
    models = rows.filter(pc.not_equal(rows["model"], "copy"))
    for column in ("performance", "rel_ex"):
        if models[column].null_count:
            return f"it has models without '{column}'"
    if models["unlearning_quality"].filter(pc.invert(pc.starts_with(models["model"], "reference-"))).null_count:
        return "it has a base model without 'unlearning_quality'"
    return _repeated(rows, ("model", "forget_set", "replicate"))


_OF_TABLES: Mapping[str, Callable[[pa.Table], str | None]] = {
    "trials": _of_trials,
    "evaluations": _of_evaluations,
    "examples": _of_examples,
    "baselines": _of_baselines,
    "probes": _of_probes,
}


def _beyond(times: pa.ChunkedArray) -> bool:
    """Return whether any time is one that this tool cannot have written."""
    early, late = (pa.scalar(time, times.type) for time in (_FIRST, _LAST))
    return pc.any(pc.or_(pc.less(times, early), pc.greater(times, late))).as_py() is True


def _repeated(rows: pa.Table, key: tuple[str, ...]) -> str | None:
    if rows.num_rows < 2 or not set(key) <= set(rows.column_names):
        return None
    distinct = rows.select(key).group_by(list(key)).aggregate([]).num_rows
    return None if distinct == rows.num_rows else f"it has the same {' and '.join(key)} twice"


def _json_problem(text: str, kind: TypeAdapter[Any]) -> str | None:
    try:
        kind.validate_python(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"is not what this tool writes ({place + ': ' if place else ''}{first['msg'].lower()})"
    except (ValueError, RecursionError) as error:
        return f"is not valid JSON ({error})"
    return None
