"""The modules of the three packages as the tests of this folder read them: parsed, by dotted name."""

import ast
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("search_spaces", "trainables", "orchestrator")


def dotted(path: Path) -> str:
    """Return the dotted name of a module; a package's is that of its folder."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


@cache
def parsed(suffix: str = ".py") -> dict[str, ast.Module]:
    """Parse every module of the three packages, once; ``.pyi``: every front door's list."""
    paths = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob(f"*{suffix}"))]
    return {dotted(path): ast.parse(path.read_text()) for path in paths}


def is_ours(module: str | None) -> bool:
    """Return whether a dotted name is of one of the three packages."""
    return module is not None and module.partition(".")[0] in PACKAGES
