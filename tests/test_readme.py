"""What the documents say is there: links, paths, commands, options, tables, and the generated reference."""

import ast
import importlib
import importlib.util
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest
import ray.scripts.scripts
import yaml

import orchestrator
import trainables
from orchestrator.cli import main
from orchestrator.ledger import BASELINES
from orchestrator.spec import ResourcesConfig, load_spec, spec_reference
from orchestrator.spec.loading import validate_spec
from orchestrator.spec.search_config import Sampler
from search_spaces import shipped_specs
from tests.demo_picture import PICTURE, shrink
from tests.orchestrator.helpers import make_spec, measured, write_probe, write_sweep
from tests.readme import (
    DOCUMENTS,
    ELSEWHERE,
    HERE,
    REFERENCE,
    ROOT,
    WHOLE,
    anchors,
    blocks,
    commands_by_name,
    inline_code,
    name_of,
    options_of,
    own_commands,
    parse,
    shown_commands,
)
from trainables.data.canaries import CANARIES
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS, SCHEDULES

README, SPECS = ROOT / "README.md", ROOT / "search_spaces" / "README.md"
SCIENCE, SWEEPS = ROOT / "trainables" / "README.md", ROOT / "orchestrator" / "README.md"
MOST_BYTES = 7_000
MOST_PICTURE_BYTES = 60_000
COMING = "--executor"
"""An option of ``run`` that is documented before it is there."""

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def test_every_package_has_its_document():
    names = {name_of(path) for path in DOCUMENTS}
    assert names == {
        "README.md", "CONTRIBUTING.md", "search_spaces/README.md", "search_spaces/REFERENCE.md", "trainables/README.md",
        "orchestrator/README.md", "tests/README.md",
    }  # fmt: skip


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= MOST_BYTES


def test_the_picture_is_small_and_made_by_its_command():
    assert PICTURE.stat().st_size <= MOST_PICTURE_BYTES
    text = PICTURE.read_text()
    assert shrink(text) == text
    assert "verses (in-distribution)" in text
    assert f"({PICTURE.relative_to(ROOT)})" in README.read_text()


def test_the_reference_is_current():
    assert REFERENCE.read_text() == spec_reference(), (
        "a spec key or a column has changed: unlearn-sweep spec --reference > search_spaces/REFERENCE.md"
    )


@every_document
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    for link in links:
        if link.startswith("https://"):
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_document
def test_every_path_in_code_style_exists(document):
    named = [
        place
        for code in inline_code(document)
        for place in re.findall(r"(?<![\w/.])(?:orchestrator|trainables|search_spaces|tests|\.ci)/[\w./-]*", code)
    ]
    assert [name for name in named if not (ROOT / name).exists()] == []


@every_document
def test_every_name_in_code_style_can_be_imported(document):
    named = [
        code for code in inline_code(document) if re.fullmatch(r"(orchestrator|trainables|search_spaces)(\.\w+)+", code)
    ]
    for name in named:
        pkgutil.resolve_name(name)


def test_the_front_doors_offer_what_the_two_hops_find():
    found = re.findall(r"^\| .*\? \| `([\w.]+)` \| `(\w+)` \|$", SWEEPS.read_text(), flags=re.M)
    assert len(found) > 3
    for room, name in found:
        assert name in importlib.import_module(room).__all__


@pytest.mark.parametrize(
    ("package", "document"), [(orchestrator, SWEEPS), (trainables, SCIENCE)], ids=["sweeps", "science"]
)
def test_every_room_is_listed_in_one_line_and_has_its_place_in_the_order(package, document):
    folder = Path(package.__file__).parent
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    text = document.read_text()
    section = text.partition("Rooms\n" if package is trainables else "## The rooms\n")[2]
    listed = re.findall(r"^\| `(\w+)` \| \S.*\|$", section.partition("\n## ")[0], flags=re.M)
    assert sorted(listed) == sorted(rooms)
    (order,) = re.findall(r"```text\n([\w\s,>|]+)```", section)
    assert rooms <= set(re.findall(r"\w+", order))


def test_the_readme_names_every_command_and_no_other():
    named = {arguments[0] for program, *arguments in shown_commands(README) if program == "unlearn-sweep"}
    assert named == {name.partition(" ")[0] for name in commands_by_name()} == HERE | WHOLE | ELSEWHERE


@pytest.mark.parametrize("arguments", own_commands(), ids=" ".join)
def test_a_command_that_is_shown_can_be_parsed(arguments):
    if COMING in arguments and COMING not in options_of(commands_by_name()["run"]):
        pytest.skip(f"{COMING} is not there yet")
    parse(arguments)


def test_a_wrong_option_of_a_command_is_seen():
    with pytest.raises(Exception, match="--tensorbord"):
        parse(["track", "sweeps/my-sweep", "--tensorbord", "runs"])
    with pytest.raises(KeyError):
        parse(["trakc", "sweeps/my-sweep"])


@every_document
def test_every_option_in_code_style_is_one(document):
    commands = commands_by_name()
    any_of_ours = {option for command in commands.values() for option in options_of(command)} | {"--help"}
    for code in inline_code(document):
        words = code.split()
        if words[0] in ("pip", "ray", "python", "aws", "optuna-dashboard") or "ray up" in code:
            continue
        own = words[0] == "unlearn-sweep" and len(words) > 1
        words = words[1:] if own else words
        name = next((name for name in (" ".join(words[:2]), words[0]) if name in commands), None)
        assert name or not own, code
        known = options_of(commands[name]) if name else any_of_ours
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given - {COMING} <= known, code


def extras() -> dict[str, list[str]]:
    extras: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    return extras


@every_document
def test_every_command_of_others_is_there(document):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    for program, *arguments in shown_commands(document):
        match Path(program).name:
            case "unlearn-sweep":
                pass
            case "make":
                assert set(arguments) <= set(targets)
            case "ray":
                assert arguments[0] in ray.scripts.scripts.cli.commands, arguments
                options = {
                    option
                    for parameter in ray.scripts.scripts.cli.commands[arguments[0]].params
                    for option in parameter.opts
                }
                assert {word for word in arguments if word.startswith("--")} <= options
            case "pip":
                assert {
                    name
                    for word in arguments
                    for name in re.findall(r"[a-z]\w*", "".join(re.findall(r"\[(.*)\]", word)))
                } <= set(extras())
                assert all((ROOT / word).exists() for word in arguments if word.endswith(".txt"))
            case "python":
                assert arguments[0] == "-m"
                check_module(*arguments[1:])
            case "export":
                assert re.fullmatch(r"RAY_\w+=\w+", arguments[0])
            case _:
                raise AssertionError(f"{program}: say here how it is checked")


def check_module(name: str, *arguments: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, name
    if name == "pytest":
        assert all((ROOT / argument).exists() for argument in arguments)
        return
    source = Path(spec.origin).read_text()
    assert "__main__" in source
    assert [word for word in arguments if word.startswith("--") and f'"{word}"' not in source] == []


@every_document
def test_every_module_that_is_named_as_a_command_is_there(document):
    for code in inline_code(document):
        if code.startswith("python -m "):
            check_module(*code.split()[2:])


@every_document
def test_every_extra_that_is_named_is_there(document):
    named = re.findall(r"unlearn-sweep\[(\w+)\]|extras? `(\w+)`", document.read_text())
    assert {name for pair in named for name in pair if name} <= set(extras())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sweeps that the documents name, of invented numbers, and what a checkout has."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("my-sweep", "demo", "paper-grid"):
        ledger = write_sweep(folder / "sweeps", make_spec(name=name))
        write_probe(ledger, next(row for row in ledger.trials() if row["last_step"] == 9), 5, [measured()])
    for path in ROOT.iterdir():
        if path.name in ("orchestrator", "search_spaces", "trainables", "README.md", "LICENSE") or path.suffix in (
            ".toml",
            ".txt",
        ):
            (folder / path.name).symlink_to(path)
    cluster = (ROOT / "cluster.yaml").read_text()
    (folder / "cluster.yaml").write_text(cluster.replace("CHANGE-ME", "my-bucket"))
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text("as ray get-auth-token --generate makes it")
    return folder


@pytest.mark.parametrize("arguments", own_commands(*HERE), ids=" ".join)
def test_a_command_that_is_shown_runs(arguments, folder, monkeypatch, capfdbinary):
    if any(argument.startswith("s3://") for argument in arguments):
        pytest.skip("its store is the reader's")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capfdbinary.readouterr()
    assert not caught.value.code, err.decode()
    assert out


@pytest.mark.parametrize("code", [code for path in DOCUMENTS for code in blocks(path, "python")])
def test_python_that_is_shown_runs(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(code, names)
    *_, last = ast.parse(code).body
    assert isinstance(last, ast.Expr)
    assert len(eval(ast.unparse(last.value), names)) > 0


def test_the_resources_that_are_shown_are_allowed():
    shown = re.findall(r"^\| `(\{.*?\})` \|", SWEEPS.read_text(), flags=re.M)
    assert len(shown) == 4
    for resources in shown:
        ResourcesConfig(**yaml.safe_load(resources))


def test_the_yaml_that_is_shown_validates_as_a_part_of_the_demo():
    snippets = [snippet for document in (SCIENCE, SPECS) for snippet in blocks(document, "yaml")]
    parts = [yaml.safe_load(snippet) for snippet in snippets]
    assert [next(iter(part)) for part in parts if part] == [
        "model", "data", "evaluation", "evaluation", "steps", "data", "data", "model", "model"
    ]  # fmt: skip
    for part in parts:
        validate_spec(load_spec().model_dump(mode="json") | (part or {}), "README")


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("objectives", OBJECTIVES),
        ("optimizers", OPTIMIZERS),
        ("schedules", SCHEDULES),
        ("samplers", get_args(Sampler)),
    ],
)
def test_what_there_is_to_choose_from_is_listed(row: str, names: Iterable[str]) -> None:
    (listed,) = re.findall(rf"^\| {row} \| (.*) \|$", SPECS.read_text(), flags=re.M)
    assert set(re.findall(r"`(\w+)`", listed)) - {"warmup_steps"} == set(names)


def test_every_objective_optimizer_and_canary_has_its_line():
    text = SCIENCE.read_text()
    assert set(
        re.findall(r"^\| `(\w+)` \| ", text.partition("## Objectives")[2].partition("## ")[0], flags=re.M)
    ) == set(OBJECTIVES)
    optimizers = text.partition("## Optimizers and schedules")[2].partition("## ")[0]
    assert all(f"`{name}`" in optimizers for name in (*OPTIMIZERS, *SCHEDULES))
    assert all(f"`{name}`" in text for name in CANARIES)


def test_every_metric_is_defined():
    table = SCIENCE.read_text().partition("## Metrics")[2]
    defined = {name for row in re.findall(r"^\| (`.*?) \| ", table, flags=re.M) for name in re.findall(r"`(\w+)`", row)}
    assert set(BASELINES.names) - {"model", "forget_set", "replicate"} <= defined


def test_every_shipped_spec_is_listed():
    assert set(re.findall(r"^\| `([a-z][\w-]*)` \| [^|]*\|$", SPECS.read_text(), flags=re.M)) == set(shipped_specs())
