"""The folder that is sent to a cluster with a job: this code, as it is here, plugin files, and a sweep's spec."""

import json
import shutil
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from orchestrator.preparation import code_state
from trainables.plugins import PluginFile

SPEC_FILE = "sweep.yaml"
"""Name of the spec in the folder."""
PLUGINS = "plugin-files"
"""Name of the folder in it that holds the plugin files. No module can have it."""
_PACKAGES = ("orchestrator", "trainables", "search_spaces")


def write_package(folder: Path, spec: str | None, plugins: Iterable[PluginFile] = ()) -> list[str]:
    """Write our packages, their metadata, plugin files, and the spec, if there is one, into an empty folder.

    Returns:
        The options of a command, run in that folder, that name the plugin files.

    Python looks for modules in a job's working folder first, so the cluster runs this code, whatever version is
    installed there. ``direct_url.json`` (PEP 610) names the commit, unless there are uncommitted changes.
    """
    root = Path(__file__).parents[2]
    for name in _PACKAGES:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
    ours = distribution("unlearn-sweep")
    info = folder / f"unlearn_sweep-{ours.version}.dist-info"
    info.mkdir()
    metadata = ours.read_text("METADATA") or f"Name: unlearn-sweep\nVersion: {ours.version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    code = code_state()
    if code["commit"] is not None and not code["dirty"]:
        direct_url = {"url": "", "vcs_info": {"vcs": "git", "commit_id": code["commit"]}}
        (info / "direct_url.json").write_text(json.dumps(direct_url), encoding="utf-8")
    if spec is not None:
        (folder / SPEC_FILE).write_text(spec, encoding="utf-8")
    options = []
    for plugin in plugins:
        path = Path(PLUGINS) / plugin.name
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(plugin.source)
        options += ["--plugin", str(path)]
    return options
