"""JSON Schema of a spec, for editors; made of the models that validate it, so that the two cannot differ.

The models do not describe what stands under ``search.space``: any setting of a trial, of an objective or of an
optimizer, as one value, a list, a range or choices. That part is added here, from their registries.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.spec.sweep_spec import SweepSpec
from trainables.config import TrialConfig
from trainables.data import CANARIES
from trainables.metrics import METRICS, Metric
from trainables.objectives import OBJECTIVES, Objective
from trainables.optim import OPTIMIZERS, SCHEDULES, OptimizerEntry
from trainables.probes import PROBES, Probe

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_RANGE: Schema = {
    "type": "object",
    "description": "A range of numbers.",
    "properties": {
        "low": {"type": "number", "description": "Lowest value."},
        "high": {"type": "number", "description": "Highest value; two whole bounds make a range of whole numbers."},
        "log": {
            "type": "boolean",
            "default": False,
            "description": "Whether the range is searched by its logarithm; `low` must be above 0.",
        },
        "grid_points": {
            "type": "integer",
            "minimum": 2,
            "description": "Number of values that samplers which list the space take, both ends included; they need it "
            "where the numbers are not whole.",
        },
    },
    "required": ["low", "high"],
    "additionalProperties": False,
}


def spec_json_schema(*, with_plugins: bool = False) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a sweep's spec. Descriptions are Markdown.

    Args:
        with_plugins: whether it knows what plugin files and installed packages add; the packages are imported.

    Raises:
        UnlearningError: such a package cannot be loaded.
    """
    objectives = OBJECTIVES.load_all() if with_plugins else OBJECTIVES.shipped
    schema = SweepSpec.model_json_schema()
    definitions = schema["$defs"]
    space = definitions["SearchConfig"]["properties"]["space"]
    definitions["SearchConfig"]["properties"]["space"] = {"$ref": "#/$defs/Space", "description": space["description"]}
    for sets in ("forget_sets", "evaluation_sets"):
        definitions["DataConfig"]["properties"][sets]["additionalProperties"] = False  # other than the pattern's
    canary = definitions["ForgetSetConfig"]["properties"]["canary"]
    canary["anyOf"] = [{"enum": list(CANARIES)}, {"type": "null"}]
    definitions |= {"Space": _space(objectives), "Range": _RANGE}
    schema["properties"]["probes"] |= _by_name(PROBES)
    metrics = definitions["EvaluationConfig"]["properties"]["metrics"]
    metrics["anyOf"] = _metrics(METRICS.load_all() if with_plugins else METRICS.shipped)
    body: Schema = in_markdown(schema)
    return {"$schema": DIALECT, **body, "title": "Spec of an unlearn-sweep sweep"}


def _space(objectives: Mapping[str, Objective]) -> Schema:
    return {
        "type": "object",
        "description": "Settings of a trial by name, each fixed, or what varies.",
        "properties": {name: _dimension(values) for name, values in _settings(objectives).items()},
        "additionalProperties": False,
    }


def _metrics(metrics: Mapping[str, Metric]) -> list[Schema]:
    """Return what the choice of metrics may be: names, some with settings; settings by name; nothing."""
    by_name: Schema = {"type": "object", **_by_name(metrics)}
    return [
        {"type": "array", "items": {"anyOf": [{"enum": list(metrics)}, by_name]}},
        by_name,
        {"type": "null"},
    ]


def _by_name(entries: Mapping[str, Metric] | Mapping[str, Probe]) -> Schema:
    """Return the schema of a choice of entries by name: the settings of each, or nothing for its defaults."""
    settings = {name: entry.settings.model_json_schema() for name, entry in entries.items()}
    return {
        "properties": {name: {"anyOf": [own, {"type": "null"}]} for name, own in settings.items()},
        "additionalProperties": False,
    }


def _settings(objectives: Mapping[str, Objective]) -> dict[str, Schema]:
    """Return the schema of the values of every setting that a space may name."""
    fields = TrialConfig.model_json_schema()["properties"]
    settings = {name: values for name, values in fields.items() if values.get("type") != "object"}
    for name, known in (("objective", objectives), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        settings[name] = {**settings[name], "enum": sorted(known)}
    owned = {"objective": _own_settings(objectives), "optimizer": _own_settings(OPTIMIZERS)}
    for name in sorted({name for names in owned.values() for name in names}):
        settings[name] = _any_of(values for names in owned.values() for values in names.get(name, ()))
    for owner, names in owned.items():
        settings |= {f"{owner}_{name}": _any_of(values) for name, values in names.items()}
    return settings


def _own_settings(registry: Mapping[str, Objective | OptimizerEntry]) -> dict[str, list[Schema]]:
    """Return the schemas of the settings that the entries of a registry have of their own, by name, each once."""
    found: dict[str, list[Schema]] = {}
    for entry in registry.values():
        properties = entry.settings.model_json_schema()["properties"]
        for name in entry.settings.model_fields:
            values = {key: value for key, value in properties[name].items() if key not in ("default", "title")}
            if name in entry.own_settings and values not in found.setdefault(name, []):
                found[name].append(values)
    return found


def _any_of(schemas: Iterable[Schema]) -> Schema:
    """Return one schema of what any of several allows, described by all of them."""
    schemas = list(schemas)
    said = (schema.get("description") for schema in schemas)  # a plugin's may have none
    description = " Or: ".join(dict.fromkeys(text for text in said if text))
    kinds: list[Schema] = []
    for schema in schemas:
        kind = {key: value for key, value in schema.items() if key != "description"}
        kinds += [other for other in kind.get("anyOf", [kind]) if other not in kinds]
    return {**(kinds[0] if len(kinds) == 1 else {"anyOf": kinds}), "description": description}


def _dimension(setting: Schema) -> Schema:
    """Return the schema of a setting that is fixed or varies, given that of its values."""
    described: Schema = {key: setting[key] for key in ("description", "default") if key in setting}
    value = {key: inner for key, inner in setting.items() if key not in ("description", "default", "title")}
    named = {"propertyNames": {"enum": value["enum"]}} if "enum" in value else {}
    inside = {"type": "object", "minProperties": 1, **named}
    choices = {
        "type": "object",
        "properties": {
            "choices": {
                "description": "One of these values, each with settings that exist only under it.",
                "anyOf": [
                    {**inside, "additionalProperties": {"anyOf": [{"$ref": "#/$defs/Space"}, {"type": "null"}]}},
                    {"type": "array", "items": value, "minItems": 1},
                ],
            }
        },
        "required": ["choices"],
        "additionalProperties": False,
    }
    ranges = [{"$ref": "#/$defs/Range"}] if _is_numeric(value) else []
    return {**described, "anyOf": [value, {"type": "array", "items": value, "minItems": 1}, *ranges, choices]}


def _is_numeric(value: Schema) -> bool:
    kinds = value.get("anyOf", [value])
    return any(kind.get("type") in ("number", "integer") for kind in kinds)


def in_markdown(value: Any) -> Any:
    """Return a schema with its descriptions in Markdown, and without the titles that pydantic makes of names."""
    if isinstance(value, list):
        return [in_markdown(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if not (key == "title" and isinstance(inner, str))}
    return {
        key: markdown(inner) if key == "description" and isinstance(inner, str) else in_markdown(inner)
        for key, inner in kept.items()
    }


def markdown(docstring: str) -> str:
    """Return a docstring as Markdown: code in single backticks, a paragraph or a list item on one line each."""
    lines: list[str] = []
    for line in docstring.replace("``", "`").splitlines():
        starts = not line.strip() or line.lstrip().startswith("- ") or not lines or not lines[-1]
        if starts:
            lines.append(line.strip())
        else:
            lines[-1] += f" {line.strip()}"
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
