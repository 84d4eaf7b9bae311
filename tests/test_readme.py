"""What the documents say is there."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest
import typer.main
import yaml

from orchestrator.cli.app import app
from orchestrator.spec import ResourcesConfig, load_spec
from orchestrator.spec.loading import validate_spec
from orchestrator.spec.search_config import Sampler
from search_spaces import shipped_specs
from trainables.data.canaries import CANARIES
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text())
    assert all((ROOT / link).exists() for link in links), links


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_named_in_code_style_exists(document: Path) -> None:
    named = re.findall(r"`((?:orchestrator|trainables|search_spaces)/[\w./]+)`", document.read_text())
    assert all((ROOT / name).exists() for name in named), named


def test_the_readme_names_every_command_and_no_other() -> None:
    named = set(re.findall(r"\$ unlearn-sweep (\w+)", (ROOT / "README.md").read_text()))
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert named == set(commands)


def test_the_readmes_resources_are_allowed() -> None:
    shown = re.findall(r"^\| `(\{.*?\})` \|", (ROOT / "README.md").read_text(), flags=re.M)
    assert len(shown) == 4
    for resources in shown:
        ResourcesConfig(**yaml.safe_load(resources))


def test_the_readmes_snippets_validate_as_parts_of_the_demo() -> None:
    snippets = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert [next(iter(yaml.safe_load(snippet))) for snippet in snippets] == ["model", "data", "steps"]
    for snippet in snippets:
        validate_spec(load_spec().model_dump(mode="json") | yaml.safe_load(snippet), "README")


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("objectives", OBJECTIVES),
        ("optimizers", OPTIMIZERS),
        ("schedules", SCHEDULES),
        ("samplers", get_args(Sampler)),
    ],
)
def test_the_readme_lists_what_there_is(row: str, names: Iterable[str]) -> None:
    (listed,) = re.findall(rf"^\| {row} \| (.*) \|$", (ROOT / "README.md").read_text(), flags=re.M)
    assert set(re.findall(r"`(\w+)`", listed)) - {"warmup_steps"} == set(names)


def test_the_readme_lists_every_shipped_spec_and_canary() -> None:
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"^\| `([a-z][\w-]*)` \| [^|]*\|$", text, flags=re.M)) >= set(shipped_specs())
    assert all(f"`{name}`" in text for name in CANARIES)
