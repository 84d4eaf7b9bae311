"""The reference and the JSON Schema of a spec say what the models, the registries and the tables say."""

import copy
import json
import re
import sys
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import pytest
import yaml

from orchestrator.cli import main
from orchestrator.errors import SweepError
from orchestrator.ledger import describe_columns
from orchestrator.spec import SweepSpec, load_spec, spec_json_schema, spec_reference
from orchestrator.spec.loading import validate_spec
from orchestrator.spec.search_config import Sampler
from search_spaces import shipped_specs
from tests.orchestrator.helpers import spec_data
from trainables.config import Config, TrialConfig
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS, SCHEDULES

FREE = {("model", "architecture"), ("data", "forget_sets"), ("data", "evaluation_sets")}
"""Mappings whose keys are the user's."""


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = spec_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    return jsonschema.Draft202012Validator(schema)


def keys_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """List the places of all keys of ours in plain data."""
    if path in FREE and path[0] == "model":
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        if isinstance(key, str) and path not in FREE:
            yield (*path, key)
        yield from keys_of(below, (*path, key))


def misspelled(data: Any, path: tuple[str | int, ...]) -> Any:
    changed = copy.deepcopy(data)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[f"{path[-1]}x"] = place.pop(path[-1])
    return changed


@pytest.mark.parametrize("name", sorted(shipped_specs()))
def test_a_shipped_spec_is_valid_and_is_not_once_a_key_is_misspelled(name, validator):
    data = yaml.safe_load(shipped_specs()[name])
    assert list(validator.iter_errors(data)) == []
    places = list(keys_of(data))
    assert len(places) > 40
    assert [path for path in places if validator.is_valid(misspelled(data, path))] == []


def test_a_resolved_spec_is_valid(validator):
    for name in shipped_specs():
        assert list(validator.iter_errors(load_spec(name).model_dump(mode="json"))) == []


@pytest.mark.parametrize(
    "space",
    [
        {"objective": {"choices": ["npo", "simnpo"]}},
        {"objective": {"choices": {"npo": {"objective_beta": [0.1, 0.2], "length": "mean"}, "wga": None}}},
        {"objective": "satimp", "objective_beta1": 4, "optimizer_beta1": {"low": 0.8, "high": 0.9}},
        {"objective": ["gradient_ascent", "npo"], "clip_norm": [None, 1.0]},
        {"batch_size": {"choices": {4: {"micro_batch_size": 2}, 8: {}}}},
        {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True, "grid_points": 3}},
        {"optimizer": "sophia", "hessian_every": {"low": 5, "high": 10}, "eps": 1e-10},
        {"objective": "gradient_difference", "compat": "open-unlearning", "objective_retain_weight": 2},
    ],
)
def test_what_a_space_may_say_is_valid(space, validator):
    data = spec_data(search={"space": {"batch_size": 4, "learning_rate": 1e-3, **space}})
    validate_spec(data, "test")
    assert [error.message for error in validator.iter_errors(data)] == []


@pytest.mark.parametrize(
    "sections",
    [
        {"search": {"space": {"batch_size": 4, "learning_rate": 1e-3, "objective": "npoo"}}},
        {"search": {"space": {"batch_size": 4, "learning_rate": 0}}},
        {"search": {"space": {"batch_size": 4, "learning_rate": {"low": 1e-3}}}},
        {"search": {"space": {"batch_size": 4, "learning_rate": {"low": 1e-3, "high": 1, "lgo": True}}}},
        {"search": {"space": {"batch_size": 4, "learning_rate": 1e-3, "objective": {"low": 0, "high": 1}}}},
        {"search": {"space": {"batch_size": 4, "learning_rate": 1e-3, "optimizer": {"choices": {"adamv": {}}}}}},
        {"search": {"sampler": "tpee"}},
        {"steps": []},
        {"data": {"forget_sets": {"people": {"distribution": "out", "canary": "persons", "size": 4, "population": 8}}}},
        {"data": {"forget_sets": {"a/b": {"distribution": "in", "size": 4, "population": 8}}}},
    ],
)
def test_what_a_spec_may_not_say_is_not_valid(sections, validator):
    data = spec_data(**sections)
    with pytest.raises(SweepError):
        validate_spec(data, "test")
    assert not validator.is_valid(data)


def test_repetitions_may_be_one_number_or_several(validator):
    for repetitions in (2, [1, 4]):
        data = spec_data()
        data["data"]["forget_sets"]["people"]["repetitions"] = repetitions
        validate_spec(data, "test")
        assert validator.is_valid(data)


def configs(kind: type[Config]) -> Iterator[type[Config]]:
    """List a configuration and all inside it."""
    yield kind
    todo: list[Any] = [field.annotation for field in kind.model_fields.values()]
    while todo:
        annotation = todo.pop()
        todo += get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Config):
            yield from configs(annotation)


def test_every_key_has_its_meaning():
    owned = [entry.settings for registry in (OBJECTIVES, OPTIMIZERS) for entry in registry.values()]
    kinds = {*configs(SweepSpec), TrialConfig, *owned}
    assert len(kinds) > 15
    missing = [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, field in kind.model_fields.items()
        if not (field.description or "").strip()
    ]
    assert missing == []
    assert [kind.__name__ for kind in kinds if not kind.__doc__] == []


def test_the_reference_names_every_key_with_type_default_and_meaning():
    text = spec_reference()
    for kind in configs(SweepSpec):
        for name, field in kind.model_fields.items():
            (first, *_) = re.sub("``", "`", field.description or "").split("\n")
            start = re.escape(first.strip()[:25])
            assert re.search(rf"- \*\*`{name}`\*\* \([^)]*\):\s+{start}", re.sub(r"\s+", " ", text)), name
    assert "- **`concurrent_trials`** (whole number above 0 or `auto`; default `null`): " in text
    assert "- **`steps`** (list of whole numbers at least 0; required): " in text
    assert "- **`training_limit_s`** (number above 0; default `604800`): " in text
    assert "\n### `data.forget_sets.NAME.template`\n" in text


def test_the_reference_names_what_there_is_to_choose_from():
    text = spec_reference()
    for name in (*OBJECTIVES, *OPTIMIZERS, *SCHEDULES):
        assert f"- **`{name}`**: " in text
    assert set(re.findall(r"^  - `(\w+)`: ", text, flags=re.M)) >= set(get_args(Sampler))
    for entry in OBJECTIVES.values():
        for name, field in entry.settings.model_fields.items():
            assert f"- **`{name}`** of " in text
            shown = f"{field.default:g}" if isinstance(field.default, float) else field.default
            assert f"`{name}` `{shown}`" in re.sub(r"\s+", " ", text)
    for name in ("low", "high", "log", "grid_points"):
        assert f"- **`{name}`** (" in text


def test_the_reference_names_every_column_with_type_unit_and_meaning():
    rows = describe_columns().to_pylist()
    text = spec_reference()
    sections = dict(
        re.findall(r"^### `(\w+)`\n(.*?)(?=^###|\Z)", text.partition("## The columns")[2], flags=re.S | re.M)
    )
    assert set(sections) == {row["table"] for row in rows}
    for row in rows:
        meaning = row["meaning"].replace("|", "\\|")
        assert f"| `{row['column']}` | {row['type']} | {row['unit']} | {meaning} |" in sections[row["table"]]


@pytest.fixture
def call(monkeypatch, capfdbinary):
    """Call the command; return exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfdbinary.readouterr()
        return caught.value.code or 0, out.decode(), err.decode()

    return run


def test_the_command_prints_either(call):
    assert call("spec", "--reference") == (0, spec_reference(), "")
    code, printed, _ = call("spec", "--schema")
    assert (code, json.loads(printed)) == (0, spec_json_schema())


@pytest.mark.parametrize("arguments", [[], ["--reference", "--schema"]])
def test_the_command_wants_one_of_the_two(call, arguments):
    code, printed, said = call("spec", *arguments)
    assert (code, printed) == (2, "")
    assert "--reference" in said
    assert "--schema" in said
