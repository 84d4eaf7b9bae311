"""The metrics by name: how one is added, how the settings of one are checked, and how one is computed. No PyTorch.

What every evaluation measures beside them (exposure, NLL of every set, extraction rate) is in ``evaluation``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from trainables.config import Compat, require_compat, validated_settings
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.metrics.metric import Metric, MetricSettings, ScoredSetsSettings
from trainables.metrics.scores import Array, Scores
from trainables.metrics.shipped.catalog import SHIPPED
from trainables.plugins import Registry
from trainables.records import EvaluationRecord, ExampleRecord

METRICS = Registry("metric", Metric, group="unlearn_sweep.metrics", shipped=SHIPPED)
"""Every metric: the shipped ones, those that plugin files register, and entry points of installed packages.

A ledger has the columns of shipped ones; the values of others are in its map columns.
"""

OPTIONAL = frozenset({"paraphrase"})
"""Fields that a metric reads where they are: without a reworded answer the answer itself is the right one."""


def register(name: str, metric: Metric) -> None:
    """Add a metric to the registry.

    Raises:
        UnlearningError: the name, or a column of it, is taken.
    """
    _require_own_columns(name, metric)
    METRICS.register(name, metric)


def _require_own_columns(name: str, metric: Metric) -> None:
    """Require that no column of a metric is filled by anything else.

    Raises:
        UnlearningError: one is; or its name says that it is of examples.
    """
    for columns, table, record in (
        (metric.columns, "evaluations", EvaluationRecord),
        (metric.example_columns, "examples", ExampleRecord),
    ):
        for column in columns:
            if column in {own.name for own in fields(record)}:
                raise UnlearningError(f"metric '{name}': every row of {table} has a column '{column}'; rename its own")
            if column.endswith("_N"):
                raise UnlearningError(
                    f"metric '{name}': its column '{column}' ends in _N, which marks arrays that it returns; declare "
                    f"it as '{column.removesuffix('_N')}' under example_columns, or rename it"
                )
    for other, entry in METRICS.items():
        shared = sorted(
            (metric.columns.keys() & entry.columns) | (metric.example_columns.keys() & entry.example_columns)
        )
        if shared and other != name:
            raise UnlearningError(f"metric '{name}': its column '{shared[0]}' is one of metric '{other}'; rename it")


def check_metric(name: str, given: Mapping[str, Any]) -> MetricSettings:
    """Return all settings of a metric, those that are not given at their defaults.

    Raises:
        UnlearningError: the metric, a setting or a value is unknown; the message names what is allowed. Or a column of
            the metric is taken.
    """
    if name not in METRICS:
        raise UnlearningError(
            f"unknown metric '{name}'; {nearest_name_hint(name, METRICS.names())}; one of your own comes with --plugin "
            f"FILE.py or an installed package"
        )
    if METRICS[name] is not SHIPPED.get(name):  # a package's was not registered, but found
        _require_own_columns(name, METRICS[name])
    others = {other: entry.settings for other, entry in METRICS.items()}
    return validated_settings(METRICS[name].settings, given, owner=f"metric '{name}'", others=others)


def compute(
    name: str, scores: Scores, compat: Compat | None = None, **settings: Any
) -> dict[str, float | Array | None]:
    """Return what a metric finds in the scores of an evaluation.

    Args:
        name: of the metric.
        scores: ``Scores(model=..., references=[...])``, each a mapping of set names to ``SetScores``. Every metric
            looks at ``model["forget"]`` (those with a setting ``of`` at the sets that it names), membership attacks at
            ``population`` too (or ``heldout``, as ``nonmembers`` says), ``mia_reference``, ``privleak``,
            ``forget_quality`` and ``exposure_tail`` at the same sets of the references. ``SetScores.of(logp, ...)``
            builds one from the natural-log probabilities of each example's target tokens: every target, the end token
            included. Beside them ``is_top_M`` is needed by ``exact_memorization`` and ``extraction_strength``,
            ``texts`` by ``mia_zlib``, ``mean_logp_M`` and ``variance_logp_M`` by ``mia_min_k_plus_plus``,
            ``gradient_norms_NP`` by ``mia_gradient_norm``, ``perturbed`` (and ``paraphrase``, the right answer where
            there is one) by the metrics of TOFU, ``truths`` with ``generations`` or ``samples`` by those of generated
            texts.
        compat: the project whose conventions the metric follows; None: the paper's.
        settings: of the metric.

    Returns:
        Floats by name of the column of ``evaluations``, None where one is not defined; and by names that end in ``_N``
        an array with one number for each forget example, NaN where it has none.

    Raises:
        UnlearningError: the metric, a setting or the project is unknown, the project has no such metric, or the scores
            lack what it needs.
    """
    chosen = check_metric(name, settings)
    metric = METRICS[name]
    if compat is not None:
        require_compat(compat, name, kind="metric", having={other: entry.compats for other, entry in METRICS.items()})
    for where, what in _missing(metric, scores, chosen):
        raise UnlearningError(f"metric '{name}': {where} has no {what}; see what compute() needs of the scores")
    return values_of(name, scores, chosen, compat)


def values_of(
    name: str, scores: Scores, settings: MetricSettings, compat: Compat | None
) -> dict[str, float | Array | None]:
    """Return what a metric finds; of the sets that its settings name, each in the place of the forget set.

    Raises:
        UnlearningError: the metric returns something else than what it declares.
    """
    metric = METRICS[name]
    if not isinstance(settings, ScoredSetsSettings):
        return _checked(name, metric, metric.compute(scores, settings, compat), scores)
    found: dict[str, float | Array | None] = {}
    if "forget" not in settings.of:
        absent = np.full(len(scores.model.get("forget", ())), np.nan)
        found |= dict.fromkeys(metric.columns) | {f"{column}_N": absent for column in metric.example_columns}
    for other in settings.of:
        in_its_place = replace(scores, model={**scores.model, "forget": scores.model[other]})
        values = _checked(name, metric, metric.compute(in_its_place, settings, compat), in_its_place)
        found |= values if other == "forget" else {f"{column}[{other}]": values[column] for column in metric.columns}
    return found


def _checked(name: str, metric: Metric, found: Any, scores: Scores) -> dict[str, float | Array | None]:
    """Return the values of a metric as floats and arrays of floats; refuse whatever is none, or not declared."""
    declared = [*metric.columns, *(f"{column}_N" for column in metric.example_columns)]
    if not isinstance(found, Mapping):
        raise UnlearningError(
            f"metric '{name}': it returned a {type(found).__name__}; return a mapping of {', '.join(declared)}"
        )
    if found.keys() != set(declared):
        raise UnlearningError(
            f"metric '{name}': it returned {', '.join(map(str, found)) or 'nothing'}, and declares "
            f"{', '.join(declared) or 'nothing'}; return every declared name and no other, None or an array's NaN "
            f"where there is no value (columns= and example_columns= declare them, the latter without _N)"
        )
    values: dict[str, float | Array | None] = {}
    for column in metric.columns:
        value = found[column]
        values[column] = None if value is None else float(_numbers(name, column, value, (), "one number, or None"))
    for column in declared[len(metric.columns) :]:
        examples = len(scores.model["forget"])
        wanted = f"an array of {examples} numbers, one for each forget example, NaN where one has none"
        values[column] = _numbers(name, column, found[column], (examples,), wanted)
    return values


def _numbers(name: str, column: str, value: Any, shape: tuple[int, ...], wanted: str) -> Array:
    """Return what a metric gives for a column as an array of floats of a shape."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors with a gradient or on a GPU
        raise UnlearningError(f"metric '{name}': '{column}' is no array ({error}); give {wanted}") from error
    if array.shape != shape or array.dtype.kind not in "biuf":
        of = f" of shape {array.shape} and dtype {array.dtype}" if array.ndim else f" ({value!r})"
        raise UnlearningError(f"metric '{name}': '{column}' is a {type(value).__name__}{of}; give {wanted}")
    return array.astype(np.float64)


def _missing(metric: Metric, scores: Scores, settings: MetricSettings) -> Iterator[tuple[str, str]]:
    """Yield what a metric needs and the scores lack, as the place and the name of the set or field."""
    models = {"scores.model": scores.model}
    if metric.needs_references:
        models |= {f"scores.references[{place}]": model for place, model in enumerate(scores.references)}
    for place, model in models.items():
        for name in settings.sets:
            if name not in model:
                yield place, f"set '{name}'"
                continue
            for field in sorted(metric.reads - OPTIONAL):
                if not _has(getattr(model[name], field)):
                    yield f"{place}['{name}']", field


def _has(value: Any) -> bool:
    return value is not None and not (isinstance(value, tuple) and not value)
