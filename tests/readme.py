"""The documents of the repository: their commands, blocks of code, links and headings."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from orchestrator.cli.app import app

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "search_spaces" / "REFERENCE.md"
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md")) if path.name != "CHANGELOG.md")

HERE = {"status", "stop", "frontier", "claims", "report", "merge", "query", "track", "spec", "cluster"}
"""Commands that are run on an invented sweep, by tests/test_readme.py."""
WHOLE = {"plan", "doctor", "run", "resume", "probe", "export"}
"""Commands that are run on a real sweep, by tests/integration/test_readme_commands.py."""
ELSEWHERE = {"submit", "logs"}
"""Commands that need a cluster: they are parsed."""


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(document: Path, language: str) -> list[str]:
    """List the blocks of code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.S | re.M)


def shown_commands(document: Path) -> list[list[str]]:
    """List the commands of all console blocks, without their comments; a pipe or a redirection ends a command."""
    lines = [line for block in blocks(document, "console") for line in block.splitlines() if line.startswith("$ ")]
    commands = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [command[: command.index(">")] if ">" in command else command for command in commands]


def own_commands(*names: str) -> list[list[str]]:
    """List the arguments of every ``unlearn-sweep`` that any document shows, or of those commands, each once."""
    shown = [
        arguments for path in DOCUMENTS for program, *arguments in shown_commands(path) if program == "unlearn-sweep"
    ]
    return [list(arguments) for arguments in dict.fromkeys(map(tuple, shown)) if not names or arguments[0] in names]


def inline_code(document: Path) -> Iterator[str]:
    """Yield what stands in single backticks, lines joined."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.S | re.M)
    for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text):
        yield " ".join(code.split())


def commands_by_name() -> dict[str, Any]:
    """Return the commands of ``unlearn-sweep``; those of a group under ``group command``."""
    found: dict[str, Any] = {}
    todo = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    while todo:
        name, command = todo.popitem()
        if hasattr(command, "commands"):
            todo |= {f"{name} {inner}": below for inner, below in command.commands.items()}
        else:
            found[name] = command
    return found


def parse(arguments: list[str]) -> None:
    """Parse the arguments of ``unlearn-sweep`` as running it would; raises what it would say."""
    commands = commands_by_name()
    depth = 1 if arguments[0] in commands else 2
    name = " ".join(arguments[:depth])
    commands[name].make_context(name, arguments[depth:])


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to a document's headings."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
