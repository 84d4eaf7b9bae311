"""What a cluster file must fulfil before machines cost money: Ray's schema, and rules for a safe, working cluster.

Ray checks only its schema. Other mistakes show on running machines: a worker without the token fails after 21 s, a
dashboard is open to whoever finds it, a head without the autoscaler's option starts no workers.
"""

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.cluster.cluster_file import PLACEHOLDER, Config
from orchestrator.errors import SweepError

HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105  # a path
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def check_cluster(config: Config, *, where: str, folder: Path) -> None:
    """Check a cluster file.

    Args:
        config: content of the file.
        where: name of the file, for the message.
        folder: folder in which ``ray up`` runs; relative paths in the file start there.

    Raises:
        SweepError: there are problems; the message lists each with its place, what was found and what to do.
    """
    problems = list(_schema_problems(config))
    if not problems:
        problems = [problem for rule in RULES for problem in rule(config)] + list(_missing_files(config, folder))
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SweepError(f"{where}: not ready for `ray up`\n{lines}")


def _schema_problems(config: Config) -> Iterator[str]:
    """Yield what Ray's schema does not allow."""
    provider = config.get("provider")
    kind = provider.get("type") if isinstance(provider, dict) else None
    if kind not in {"aws", "gcp", "local"}:
        yield (
            f"provider.type: found {kind!r}; this project supports aws, gcp and local, and 'unlearn-sweep cluster "
            f"render' makes a file for each"
        )
        return
    printed = io.StringIO()  # not for the user
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            validate_config(prepare_config(config))
    except jsonschema.ValidationError as error:
        yield f"{'.'.join(map(str, error.absolute_path)) or 'top level'}: {error.message}"
    except (click.ClickException, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        yield f"Ray says: {error}"


def _start_commands(config: Config) -> Iterator[str]:
    for name in (HEAD, WORKER):
        if name not in config:
            yield (
                f"{name}: missing, and Ray's defaults ask for no token and open the dashboard to the network; copy "
                f"those of the shipped cluster.yaml"
            )
            continue
        commands = _ray_start(config, name)
        if not commands:
            yield f"{name}: no command has 'ray start', so Ray would not run; copy those of the shipped cluster.yaml"
        if not all(re.search(r"\bexport\b[^;&|]*\bRAY_AUTH_MODE=token\b", command) for command in commands):
            yield (
                f"{name}: 'ray start' without token authentication: whoever reaches the port can run code; put "
                f"'export RAY_AUTH_MODE=token;' before it, in the same command"
            )


def _token(config: Config) -> Iterator[str]:
    if TOKEN_FILE not in (config.get("file_mounts") or {}):
        yield (
            f"file_mounts: the token is not copied to the machines, so they could not join; add "
            f"'{TOKEN_FILE}: {TOKEN_FILE}'"
        )


def _dashboard(config: Config) -> Iterator[str]:
    for command in _ray_start(config, HEAD):
        for address in re.findall(r"--dashboard-host[= ](\S+)", command):
            if address not in LOOPBACK:
                yield (
                    f"{HEAD}: --dashboard-host={address} opens the dashboard and its jobs to the network; give "
                    f"127.0.0.1, and use 'ray dashboard FILE', which goes through SSH"
                )


def _autoscaler(config: Config) -> Iterator[str]:
    commands = _ray_start(config, HEAD)
    if commands and not any("--autoscaling-config" in command for command in commands):
        yield f"{HEAD}: without --autoscaling-config=~/ray_bootstrap_config.yaml the head starts no workers; add it"


def _setup(config: Config) -> Iterator[str]:
    if not config.get("setup_commands"):
        yield (
            "setup_commands: missing; Ray's defaults install a nightly Ray, and not this project; copy those of the "
            "shipped cluster.yaml"
        )


def _open_ports(config: Config) -> Iterator[str]:
    for rule in (config["provider"].get("security_group") or {}).get("IpPermissions", []):
        world = [entry for entry in _texts(rule) if entry in {"0.0.0.0/0", "::/0"}]
        if world:
            ports = f"{rule.get('FromPort', 'all')}-{rule.get('ToPort', 'all')}"
            yield (
                f"provider.security_group.IpPermissions: ports {ports} are open to the world ({world[0]}); remove "
                f"them: 'ray dashboard FILE' goes through SSH"
            )


def _storage(config: Config) -> Iterator[str]:
    storage = str((config.get("metadata") or {}).get("storage") or "")
    if not re.match(r"[a-z0-9]+://.", storage) and not (config["provider"]["type"] == "local" and storage[:1] == "/"):
        yield (
            f"metadata.storage: found {storage or 'nothing'}; sweeps need a place that all machines can reach and that "
            f"outlives them: s3://BUCKET/sweeps or gs://BUCKET/sweeps (provider local: also a shared folder, /...)"
        )


def _workers(config: Config) -> Iterator[str]:
    if "max_workers" not in config:
        yield "max_workers: missing; give the most machines that there may be beside the head"
    if config.get("max_workers", 1) < 1:
        yield "max_workers: 0 allows no worker, and the head runs no trials; give the most workers that there may be"
    types = config.get("available_node_types") or {}
    limits = [kind.get("max_workers", 1) for name, kind in types.items() if name != config["head_node_type"]]
    if types and not any(limits):
        yield "available_node_types: none but the head's allows a machine; give a worker type a max_workers above 0"


def _machines(config: Config) -> Iterator[str]:
    if config["provider"]["type"] != "aws":
        return
    if config["provider"].get("cache_stopped_nodes", True):
        yield "provider.cache_stopped_nodes: spot machines cannot be stopped, only terminated; set it to false"
    if "available_node_types" not in config:
        yield (
            "available_node_types: missing, and Ray's defaults have no GPUs and no role for the bucket; copy those of "
            "the shipped cluster.yaml"
        )
        return
    head = config["available_node_types"][config["head_node_type"]]["node_config"]
    if "InstanceMarketOptions" in head:
        yield (
            f"available_node_types.{config['head_node_type']}: a spot head takes the whole cluster with it when it is "
            f"reclaimed; give InstanceMarketOptions to workers only"
        )


def _placeholders(config: Config) -> Iterator[str]:
    for text in _texts(config):
        if PLACEHOLDER in text:
            yield f"'{text}': replace {PLACEHOLDER} by yours"


def _missing_files(config: Config, folder: Path) -> Iterator[str]:
    mounts = {f"file_mounts.{remote}": local for remote, local in (config.get("file_mounts") or {}).items()}
    if "ssh_private_key" in config.get("auth", {}):
        mounts["auth.ssh_private_key"] = config["auth"]["ssh_private_key"]
    for place, local in mounts.items():
        if not (folder / Path(local).expanduser()).exists():
            make = (
                "make it: ray get-auth-token --generate" if place.endswith(TOKEN_FILE) else "run this in the checkout"
            )
            yield f"{place}: there is no {local} in {folder}; {make}"


RULES: tuple[Callable[[Config], Iterator[str]], ...] = (
    _start_commands, _token, _dashboard, _autoscaler, _setup, _open_ports, _storage, _workers, _machines, _placeholders,
)  # fmt: skip


def _ray_start(config: Config, name: str) -> list[str]:
    """Return the commands of a list that start Ray."""
    return [command for command in config.get(name) or [] if re.search(r"\bray start\b", command)]


def _texts(value: Any) -> Iterator[str]:
    """Yield every text inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
