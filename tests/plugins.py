"""A user's own objective, as a plugin file and as a package."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from tests.readme import ROOT, blocks
from trainables.metrics import METRICS
from trainables.objectives import OBJECTIVES
from trainables.plugins import plugin_files

SHOWN, SHOWN_METRIC = blocks(ROOT / "trainables" / "README.md", "py")
"""The plugin files that the documents show: an objective, which with its defaults is gradient ascent, and a metric."""

OBJECTIVE = '''"""An objective of my own."""

from trainables.objectives import Objective, ObjectiveSettings, register


class ScaledSettings(ObjectiveSettings):
    """Settings of ``scaled_ascent``."""

    factor: float = 1.0
    """Factor of the ascent."""


def scaled_ascent(inputs, settings):
    """Return -factor * NLL of the forget batch."""
    return -settings.factor * inputs.forget_nll()


SCALED = Objective(loss=scaled_ascent, settings=ScaledSettings, source="my own")
'''
REGISTER = 'register("scaled_ascent", SCALED)\n'
"""What a plugin file says besides; an entry point of a package says it in its metadata."""

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{version}"

[project.entry-points."unlearn_sweep.objectives"]
{entries}

[tool.setuptools]
py-modules = ["{module}"]
"""


@contextmanager
def fresh_registries() -> Iterator[None]:
    """Have no plugin, as a new process has none, and leave none behind."""
    try:
        with mock.patch.multiple(plugin_files, _RAN={}, _WAITING={}):
            yield
    finally:
        for registry in (OBJECTIVES, METRICS):
            for name in set(registry) - set(registry.shipped):
                del registry[name]


def write_plugin(folder: Path, text: str = OBJECTIVE + REGISTER, name: str = "my_objective.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def write_metadata(folder: Path, package: str, entries: dict[str, str], version: str = "0.3") -> None:
    """Write the metadata that pip leaves of an installed package: of one with entry points of objectives."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[unlearn_sweep.objectives]\n{lines}")
