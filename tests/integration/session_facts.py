"""Open the session that a sweep runs in, and print, as JSON, what others on the machine could see of it, and what its
workers see of the folder that this was called in."""

import json
import stat
from pathlib import Path

import psutil
import ray
from ray import tune

from orchestrator.resources import ray_session
from orchestrator.resources.ray_environment import AHEAD
from orchestrator.spec import ResourcesConfig

HOSTILE = ("datasets", "yaml", "random", "torch")


@ray.remote
def imported() -> dict[str, str]:
    import importlib  # noqa: PLC0415

    return {name: str(importlib.import_module(name).__file__) for name in HOSTILE}


@ray.remote
def loaded() -> list[str]:
    """List what the worker has imported by itself, before it was given work."""
    import sys  # noqa: PLC0415

    return sorted(sys.modules)


def texts(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return "".join(path.read_text(errors="replace") for path in files)


def scripts() -> dict[str, psutil.Process]:
    """Return the Python scripts that Ray runs beside its servers, by name."""
    children = psutil.Process().children()
    commands = {process: process.cmdline() for process in children if process.status() != psutil.STATUS_ZOMBIE}
    found = {next((part for part in command if "/ray/" in part), ""): process for process, command in commands.items()}
    return {Path(script).name: process for script, process in found.items() if script.endswith(".py")}


def main(folder: Path, marker: str) -> None:
    at_the_end: list[str] = []
    shutdown = ray.shutdown
    ray.shutdown = lambda: (at_the_end.extend(scripts()), shutdown())
    with ray_session(ResourcesConfig(), workers=1):
        ahead = set(ray.get(loaded.remote()))
        tune.Tuner(lambda _: {"done": 1}, run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0)).fit()
        (session,) = folder.glob("unlearn-*")
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [c.laddr.ip for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
        facts = {
            "ahead": sorted(ahead & {AHEAD, "torch", "transformers", "peft", "datasets"}),
            "modules": ray.get(imported.remote()),
            "listening": sorted(set(listening)),
            "mode": stat.S_IMODE(session.stat().st_mode),
            "scripts": sorted(scripts()),
            "logs": len(texts(session)),
            "marked": marker in texts(session),
        }
    facts["ended_by_ray"] = at_the_end
    facts["left"] = [str(path) for path in folder.glob("unlearn-*")]
    print(json.dumps(facts))  # noqa: T201  # a command of its own


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]), sys.argv[2])
