"""What the documents say is there."""

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from orchestrator.cli import app
from orchestrator.spec import ResourcesConfig, load_spec, validate_spec

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


def test_the_readmes_spec_validates_as_part_of_the_demo() -> None:
    (snippet,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    data = load_spec().model_dump(mode="json") | yaml.safe_load(snippet)
    assert validate_spec(data, "README").steps == (2, 4, 8, 16, 32)
