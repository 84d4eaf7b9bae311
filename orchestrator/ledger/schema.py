"""Arrow schemas of the ledger: column names, types, units and meanings, with a version (see ``migrations``)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from trainables.metrics import SHIPPED
from trainables.records import TIMES

SCHEMA_VERSION = 8
"""Version of the tables. Changing a published column raises it, and needs a migration from the version before."""
VERSION_KEY = b"unlearn_sweep_schema_version"
TRIAL_KEY = b"unlearn_sweep_trial"
"""Key in the metadata of a file of evaluations: the trial's row as it was proposed, as JSON, in case it is lost."""


def _table(*columns: tuple[str, pa.DataType, str, str]) -> pa.Schema:
    """Build a schema of (name, type, unit, meaning)."""
    fields = [
        pa.field(name, kind, metadata={"unit": unit, "meaning": meaning}) for name, kind, unit, meaning in columns
    ]
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()})


TEXT, REAL, WHOLE = pa.string(), pa.float64(), pa.int64()
_TIME = pa.timestamp("us", tz="UTC")

_WHO = (
    ("sweep", TEXT, "", "name of the sweep"),
    ("trial_id", TEXT, "", "hash of the trial's config, data, model and schema version"),
    ("stratum", TEXT, "", "forget set, seed and replicate (unless 0); strata are fully crossed"),
    ("forget_set", TEXT, "", "name of the forget set"),
    ("distribution", TEXT, "", "in: drawn from the training distribution; out: canaries"),
    ("seed", WHOLE, "", "seed of batch order and dropout"),
    ("replicate", WHOLE, "", "number of the draw of data, models and orders, from 0"),
    ("objective", TEXT, "", "what each step minimises"),
    ("optimizer", TEXT, "", "optimizer of the ascent"),
    ("learning_rate", REAL, "", "peak learning rate"),
    ("batch_size", WHOLE, "examples", "forget examples in a step"),
    (
        "settings",
        TEXT,
        "",
        "objective, optimizer, learning rate, batch and all that is not at its default; null: cannot be told",
    ),
    ("setting_id", TEXT, "", "hash of all settings, equal across strata; null: cannot be told"),
)

OTHER_METRICS = "other_metrics"
"""The map column with the values of metrics that a plugin or another version of this tool has."""
METRIC_COLUMNS = {name: column for metric in SHIPPED.values() for name, column in metric.columns.items()}
"""Columns of evaluations that the shipped metrics fill."""
EXAMPLE_METRIC_COLUMNS = {
    name: column for metric in SHIPPED.values() for name, column in metric.example_columns.items()
}
"""Columns of examples that they fill."""
_OTHERS = (OTHER_METRICS, pa.map_(TEXT, REAL), "", "values of metrics that this table has no column for, by name")

EXAMPLES_WHO = ("sweep", "forget_set", "seed", "replicate", "optimizer", "learning_rate")
"""Columns of the trial that its examples repeat, so that they are found and grouped without a join."""

TRIALS = _table(
    *_WHO,
    ("number", WHOLE, "", "order of proposal within the stratum, from 0"),
    ("status", TEXT, "", "completed, diverged, collapsed, stopped or failed; null: not ended"),
    ("clip_norm", REAL, "", "largest global gradient norm; null: not clipped"),
    ("schedule", TEXT, "", "learning-rate schedule"),
    ("horizon", WHOLE, "steps", "total steps, where the schedule depends on it"),
    ("target_step", WHOLE, "steps", "last step that the trial was asked for"),
    ("last_step", WHOLE, "steps", "last evaluated step"),
    ("message", TEXT, "", "why the trial went no further"),
    ("config", TEXT, "JSON", "the trial's whole configuration"),
    ("proposals", TEXT, "JSON", "every time the sampler proposed it: order, point and its own notes, for replay"),
    ("elapsed_s", REAL, "seconds", "wall time of the trial"),
    *((name, REAL, "seconds", f"of it, {meaning}; null: an older row") for name, meaning in TIMES.items()),
    ("started_at", _TIME, "UTC", "when it was proposed"),
    ("ended_at", _TIME, "UTC", "when its outcome was published"),
    ("host", TEXT, "", "machine that published the row"),
)

EVALUATIONS = _table(
    *_WHO,
    (
        "step",
        WHOLE,
        "steps",
        "ascent steps taken; 0 is the base model, a row of which every trial has from version 5 on",
    ),
    ("status", TEXT, "", "completed, or collapsed: beyond the performance floor"),
    ("forget_nll", REAL, "nats/token", "negative log-likelihood of the forget set, token-weighted"),
    ("gen_ex", REAL, "bits", "generalized exposure, mean over the forget set; null without reference models"),
    ("gen_ex_abs", REAL, "bits", "mean absolute generalized exposure"),
    (
        "gen_ex_per_token",
        REAL,
        "bits/token",
        "mean over the forget set of generalized exposure by target token",
    ),
    ("rel_ex", REAL, "bits", "relative exposure by rank in the population, mean over the forget set"),
    ("rel_ex_skew_normal", REAL, "bits", "relative exposure by a skew-normal fitted to the population, mean"),
    (
        "extraction_rate",
        REAL,
        "share",
        "forget examples whose target greedy decoding gives exactly from its prefix",
    ),
    ("membership_auc", REAL, "", "loss-threshold membership of forget set against population; 0.5 is chance"),
    ("retain_nll", REAL, "nats/token", "negative log-likelihood of retained training examples, token-weighted"),
    ("heldout_nll", REAL, "nats/token", "NLL of never-trained examples, by token; see evaluation.selection_share"),
    ("heldout_perplexity", REAL, "", "exp(heldout_nll), capped at exp(88)"),
    ("bleu", REAL, "", "BLEU of held-out outputs; null for causal models"),
    ("chrf", REAL, "", "chrF of held-out outputs; null for causal models"),
    (
        "unlearning_quality",
        REAL,
        "bits",
        "gen_ex_abs, or without reference models mean |rel_ex - log2 e|; lower is better, down to what the reference "
        "models have (baselines)",
    ),
    ("performance", REAL, "nats/token", "heldout_nll, of evaluation.selection_share if that is set; lower is better"),
    (
        "population_nll",
        REAL,
        "nats/token",
        "negative log-likelihood of never-trained examples of the forget set's own kind (its population), "
        "token-weighted; null in rows of schema versions before 4",
    ),
    (
        "distractor_nll",
        REAL,
        "nats/token",
        "negative log-likelihood of retained examples of the forget set's own kind (its distractors), token-weighted; "
        "null where the set has none, and in rows of schema versions before 4",
    ),
    *((name, REAL, column.unit, column.meaning) for name, column in METRIC_COLUMNS.items()),
    _OTHERS,
    ("tokens_seen", WHOLE, "tokens", "forget target tokens ascended on so far"),
    ("elapsed_s", REAL, "seconds", "wall time since the trial started"),
)

EXAMPLES = _table(
    ("trial_id", TEXT, "", "the trial"),
    ("step", WHOLE, "steps", "the evaluation; 0 is the base model"),
    ("example_id", TEXT, "", "the forget example"),
    ("num_tokens", WHOLE, "tokens", "target tokens"),
    ("nll", REAL, "nats/token", "negative log-likelihood by target token"),
    ("gen_ex", REAL, "bits", "generalized exposure of the whole target"),
    ("rel_ex", REAL, "bits", "relative exposure by rank in the population"),
    ("rel_ex_skew_normal", REAL, "bits", "relative exposure by a skew-normal fitted to the population"),
    ("extracted", pa.bool_(), "", "greedy decoding from the prefix gives the target exactly"),
    ("memorization", REAL, "nats/token", "counterfactual memorization before unlearning"),
    ("difficulty", REAL, "nats/token", "negative log-likelihood under the reference models"),
    *((name, REAL, column.unit, column.meaning) for name, column in EXAMPLE_METRIC_COLUMNS.items()),
    _OTHERS,
    *(column for column in _WHO if column[0] in EXAMPLES_WHO),
)

TABLES: Mapping[str, pa.Schema] = {"trials": TRIALS, "evaluations": EVALUATIONS, "examples": EXAMPLES}

REPEATED: Mapping[str, Sequence[str]] = {
    "evaluations": tuple(name for name, *_ in _WHO),
    "examples": ("trial_id", *EXAMPLES_WHO),
}
"""Columns of the trial that its rows repeat. They never change, since the trial's id is a hash of their values."""


SETTING = ("settings", "setting_id")
"""Columns that describe a trial's whole configuration."""
OWN_KIND = ("population_nll", "distractor_nll")
"""Columns with the NLL of examples of the forget set's own kind: never trained, and retained."""
RELATIVE_TO_REFERENCES = ("gen_ex", "gen_ex_abs", "gen_ex_per_token", "unlearning_quality")
"""Columns that are measured against the reference models; for a reference model, against the others."""


def noted_trial(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the trial's row from the metadata of a file of evaluations; empty where they lack it."""
    try:
        row = json.loads((metadata or {}).get(TRIAL_KEY, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _metrics() -> list[pa.Field]:
    """Return the columns that an evaluation measures of any model."""
    skip = {name for name, *_ in _WHO} | {"step", "status", "tokens_seen", "elapsed_s", "bleu", "chrf"}
    return [column for column in EVALUATIONS if column.name not in skip]


_ROLES = (
    "base, reference-0, reference-1, ...; copy: sources as they are, for BLEU and chrF. gen_ex and what follows from "
    "it are of a reference model against the others: null where it is the only one, and in schema versions before 4"
)
BASELINES = pa.schema(
    [
        pa.field("model", TEXT, metadata={"unit": "", "meaning": _ROLES}),
        EVALUATIONS.field("forget_set"),
        EVALUATIONS.field("replicate"),
        *_metrics(),
        EVALUATIONS.field("bleu"),
        EVALUATIONS.field("chrf"),
    ],
    metadata=EVALUATIONS.metadata,
)
"""What base and reference models know before unlearning: ``references/baselines.parquet``."""

MAXIMISED = ("bleu", "chrf", *(name for name, column in METRIC_COLUMNS.items() if column.goal == "high"))
"""Columns of evaluations of which more is better, and which a frontier can maximise."""
_OTHER_GOALS = {OTHER_METRICS, *MAXIMISED}
MINIMISED = (*(c.name for c in _metrics() if c.name not in _OTHER_GOALS), "step", "tokens_seen", "elapsed_s")
"""Columns of evaluations that a frontier can minimise."""

FORGET_EXAMPLES = _table(
    *(column for column in _WHO if column[0] in ("forget_set", "replicate")),
    ("example_id", TEXT, "", "the forget example, as in the table of examples of the same replicate"),
    ("prompt", TEXT, "", "what the target follows; empty where the whole text is the target"),
    ("completion", TEXT, "", "the target: what is to be forgotten"),
    (
        "repetitions",
        WHOLE,
        "",
        "how often the example is seen in an epoch of base training; null: written by an older version",
    ),
)
"""The texts that are unlearned: ``references/forget_sets.parquet``."""


def _probed(prefix: str, meaning: str) -> list[pa.Field]:
    """Return every column that an evaluation measures, as it was before or after a probe."""
    skip = {name for name, *_ in _WHO} | {"step", "tokens_seen", "elapsed_s"}
    fields = []
    for column in EVALUATIONS:
        if column.name not in skip:
            said = column.metadata[b"meaning"].decode()
            fields.append(column.with_name(f"{prefix}{column.name}").with_metadata({
                "unit": column.metadata[b"unit"].decode(), "meaning": f"{meaning}: {said}",
            }))  # fmt: skip
    return fields


_OF_PROBED = ("batch_size", "settings", "setting_id")
"""Columns of a trial that its probes do not repeat; ``trials`` has them."""
PROBES = pa.schema(
    [
        *(EVALUATIONS.field(name) for name, *_ in _WHO if name not in _OF_PROBED),
        *_table(
            ("step", WHOLE, "steps", "the evaluated step that was probed; null: a model before any unlearning"),
            ("role", TEXT, "", "unlearned: the model of a step; base, reference-0, ...: a control, of no trial"),
            ("probe", TEXT, "", "name of the probe"),
            ("variant", TEXT, "", "what the probe tried"),
            ("amount", REAL, "", "how much of it: fine-tuning steps, bits, ...; null: it has no amount"),
            ("probe_settings", TEXT, "JSON", "all settings of the probe"),
        ),
        *_probed("", "after the probe"),
        *_probed("before_", "before the probe, on the same examples"),
        *_table(
            ("scores", pa.map_(TEXT, REAL), "", "what the probe measured beside, by name"),
            ("elapsed_s", REAL, "seconds", "wall time of the measurement"),
            ("host", TEXT, "", "machine that measured it"),
            ("ended_at", _TIME, "UTC", "when it was published"),
        ),
    ],
    metadata=EVALUATIONS.metadata,
)
"""What probes found, one row a measurement; a file for each model and probe. Null in the columns of an evaluation: the
probe measures something else. Null in the columns of a trial, but for forget set and replicate: it is a control."""


def _of_sweep(schema: pa.Schema) -> pa.Schema:
    return pa.schema([EVALUATIONS.field("sweep"), *schema], metadata=schema.metadata)


VIEWS: Mapping[str, pa.Schema] = {
    **TABLES,
    "baselines": _of_sweep(BASELINES),
    "forget_examples": _of_sweep(FORGET_EXAMPLES),
    "probes": PROBES,
}
"""The views of a query: the tables, and baselines and texts with the sweep that they belong to."""


def unit(column: str) -> str:
    """Return the unit of a column of the evaluations; empty for a number without one."""
    text: str = EVALUATIONS.field(column).metadata[b"unit"].decode()
    return text


def describe_columns() -> pa.Table:
    """Return every column of ``VIEWS``: its table, type, unit and meaning."""
    rows = []
    for table, schema in VIEWS.items():
        for column in schema:
            notes = {key.decode(): value.decode() for key, value in column.metadata.items()}
            rows.append({"table": table, "column": column.name, "type": str(column.type), **notes})
    return pa.Table.from_pylist(rows)
