"""The reference of what a spec may say and of what a ledger holds, in Markdown.

It is written from the JSON Schema of a spec, the registries of objectives and optimizers, and the schemas of the
tables. Nothing is described here that is not described there.
"""

from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap

from orchestrator.ledger import describe_columns
from orchestrator.spec.documentation.json_schema import Schema, in_markdown, spec_json_schema
from orchestrator.spec.documentation.value_kinds import code, kind_of
from trainables.config import TrialConfig
from trainables.metrics import DEFAULT_METRICS, SHIPPED
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS, SCHEDULES, Horizon
from trainables.probes import PROBES

WIDTH = 120
"""Characters of a line; headings and rows of tables may be longer."""

_HEAD = """# Reference

Every key of a spec and every column of a ledger. Written by `unlearn-sweep spec --reference`; do not edit."""
_SPACE = """Each setting is one of

- a value, which is fixed: `batch_size: 16`;
- a list, one of its values: `batch_size: [8, 16]`;
- a range: `learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}`;
- choices, one of several values, each with settings that exist only under it: `optimizer: {choices: {sgd: {momentum: \
[0.0, 0.9]}, adamw: {}}}`.

The settings of an objective and of an optimizer stand here too, or under their choice. A name that both have is \
written `objective_beta1` or `optimizer_beta1`. `learning_rate` and `batch_size` are required."""
_TABLES = {
    "trials": "One row a trial: `trials/*.parquet`.",
    "evaluations": "One row a (trial, step): `evaluations/*.parquet`.",
    "examples": "One row a (trial, step, forget example): `examples/*.parquet`.",
    "baselines": "What base and reference models know before unlearning: `references/baselines.parquet`.",
    "forget_examples": "The texts that are unlearned: `references/forget_sets.parquet`.",
    "probes": "One row a measurement of a probe: `probes/*.parquet`.",
}


def spec_reference() -> str:
    """Return the whole reference."""
    schema = spec_json_schema()
    places = _places(schema)
    first = {name: where[0] for name, where in places.items()}
    parts = [_HEAD, "## The spec", _keys(schema, first)]
    for name, where in places.items():
        definition = schema["$defs"][name]
        parts += [f"### {', '.join(f'`{place}`' for place in where)}", _wrapped(definition["description"])]
        if name == "Space":
            own = {key: values for key, values in definition["properties"].items() if key in TrialConfig.model_fields}
            parts += [_wrapped(_SPACE), _keys({"properties": _values_alone(own)}, first)]
        else:
            parts.append(_keys(definition, first))
    parts += [
        *_objectives(),
        *_optimizers(),
        *_schedules(),
        *_metrics(),
        *_probes(),
        "## The columns of a ledger",
        *_columns(),
    ]
    return "\n\n".join(parts) + "\n"


def _values_alone(settings: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the settings of a space with what one value of theirs may be, in place of how they may vary."""
    return {
        name: {**{key: value for key, value in setting.items() if key != "anyOf"}, **setting["anyOf"][0]}
        for name, setting in settings.items()
    }


def _places(schema: Schema) -> dict[str, list[str]]:
    """Return where in a spec each mapping of the schema stands, outer ones before inner ones."""
    places: dict[str, list[str]] = {}
    for name, place in _mappings(schema, schema["$defs"], ""):
        places.setdefault(name, []).append(place)
    return places


def _mappings(schema: Schema, definitions: Mapping[str, Schema], place: str) -> Iterator[tuple[str, str]]:
    for key, values in schema["properties"].items():
        for name, inner in _referred(values, f"{place}.{key}".lstrip(".")):
            yield name, inner
            if name == "Space":  # which contains itself
                yield "Range", f"{inner}.NAME"
            else:
                yield from _mappings(definitions[name], definitions, inner)


def _referred(values: Schema, place: str) -> Iterator[tuple[str, str]]:
    """Yield the definitions that a key's values refer to, each with its place."""
    if "$ref" in values:
        yield values["$ref"].rpartition("/")[2], place
    for branch in [*values.get("anyOf", ()), *values.get("oneOf", ())]:
        yield from _referred(branch, place)
    if "$ref" in values.get("items", {}):
        yield from _referred(values["items"], f"{place}.NUMBER")
    for named in values.get("patternProperties", {}).values():
        yield from _referred(named, f"{place}.NAME")


def _keys(schema: Schema, places: Mapping[str, str], indent: str = "") -> str:
    """Write the keys of a mapping as a list: what each may hold, its default, its meaning."""
    items = []
    for key, values in schema["properties"].items():
        facts = [kind_of(values, places)]
        if key in schema.get("required", ()):
            facts.append("required")
        elif "default" in values and not isinstance(values["default"], dict):
            facts.append(f"default {code(values['default'])}")
        meaning = values["description"].replace("\n", f"\n{indent}  ")
        items.append(_wrapped(f"{indent}- **`{key}`** ({'; '.join(facts)}): {meaning}"))
    return "\n".join(items)


def _objectives() -> Iterator[str]:
    """Write each objective with its formula and defaults, then each setting once, with the objectives that have it."""
    yield "### Objectives, `search.space.objective`"
    having: dict[tuple[str, str], list[str]] = {}
    lines = []
    for name, entry in OBJECTIVES.shipped.items():
        properties = in_markdown(entry.settings.model_json_schema())["properties"]
        defaults = ", ".join(f"`{key}` {code(values['default'])}" for key, values in properties.items())
        lines.append(f"**`{name}`**: {entry.source}. Settings: {defaults}.")
        for key, values in properties.items():
            meaning = f"({kind_of(values, {})}): {values['description']}"
            having.setdefault((key, meaning), []).append(name)
    yield _list(lines)
    yield "Their settings:"
    yield _list(f"**`{key}`** of {_names(names)} {meaning}" for (key, meaning), names in having.items())


def _names(names: list[str]) -> str:
    return "every objective" if len(names) == len(OBJECTIVES.shipped) else ", ".join(f"`{name}`" for name in names)


def _optimizers() -> Iterator[str]:
    yield "### Optimizers, `search.space.optimizer`"
    lines = []
    for name, entry in OPTIMIZERS.items():
        schema = in_markdown(entry.settings.model_json_schema())
        about = " ".join(schema["description"].split())
        note = "" if entry.works_on_shards else " It is refused under `parallelism: fsdp`."
        lines += _with_settings(f"**`{name}`**: {entry.source}. {about}{note}", schema)
    yield "\n".join(lines)


def _with_settings(entry: str, schema: Schema) -> list[str]:
    """Write an entry of a list, and its settings below it, where it has any."""
    return [_list([entry]), *([_keys(schema, {}, indent="  ")] if schema.get("properties") else [])]


def _schedules() -> Iterator[str]:
    yield "### Schedules, `search.space.schedule`"
    yield _list(
        f"**`{name}`**: "
        + (
            "each step value is a trial of its own."
            if entry.horizon is Horizon.FIXED
            else "one trial covers all steps."
        )
        for name, entry in SCHEDULES.items()
    )


def _metrics() -> Iterator[str]:
    """Write each metric with its source, what it needs, what it fills, and its settings."""
    yield "### Metrics, `evaluation.metrics`"
    yield _wrapped(f"The default ones are {', '.join(f'`{name}`' for name in DEFAULT_METRICS)}.")
    lines = []
    for name, entry in SHIPPED.items():
        schema = in_markdown(entry.settings.model_json_schema())
        needs = ["reference models"] * entry.needs_references
        needs += ["wrong answers (column `perturbed`)"] * ("perturbed" in entry.reads)
        needs += ["generated texts"] * bool({"generations", "samples"} & entry.reads)
        facts = f"Columns: {', '.join(f'`{column}`' for column in entry.columns)}."
        facts += f" Needs {', '.join(needs)}." if needs else ""
        lines += _with_settings(f"**`{name}`**: {entry.source}. {facts}", schema)
    yield "\n".join(lines)


def _probes() -> Iterator[str]:
    """Write each probe with its source and its settings."""
    yield "### Probes, `probes`"
    lines = []
    for name, entry in PROBES.items():
        schema = in_markdown(entry.settings.model_json_schema())
        about = " ".join(schema["description"].split())
        lines += _with_settings(f"**`{name}`**: {entry.source}. {about}", schema)
    yield "\n".join(lines)


def _columns() -> Iterator[str]:
    rows = describe_columns().to_pylist()
    for table, text in _TABLES.items():
        yield f"### `{table}`"
        yield text
        lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for row in rows:
            if row["table"] == table:
                meaning = row["meaning"].replace("|", "\\|")
                lines.append(f"| `{row['column']}` | {row['type']} | {row['unit']} | {meaning} |")
        yield "\n".join(lines)


def _list(items: Iterable[str]) -> str:
    return "\n".join(_wrapped(f"- {item}") for item in items)


def _wrapped(text: str) -> str:
    """Break long lines; the rest of a list item is indented as its text is."""
    lines: list[str] = []
    for line in text.split("\n"):
        bare = line.lstrip()
        depth = " " * (len(line) - len(bare) + 2 * bare.startswith("- "))
        lines += wrap(line, WIDTH, subsequent_indent=depth, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join(lines)
