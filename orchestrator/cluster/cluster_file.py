"""The shipped ``cluster.yaml``, and cluster files made from it for other providers, whose parts replace its own.

Setup and start commands are the same everywhere. ``orchestrator.cluster.checks`` has what a file must fulfil.
"""

import copy
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import SweepError
from trainables.errors import nearest_name_hint

SHIPPED = Path(__file__).parents[2] / "cluster.yaml"
"""The cluster file that comes with a checkout."""
PROVIDERS = ("aws", "gcp", "local")
PLACEHOLDER = "CHANGE-ME"
"""Placeholder for what only the user knows."""
ENVIRONMENT = "~/unlearn-sweep/.venv"
"""The virtual environment into which the setup commands install."""
GOOGLE_IMAGE = "common-cu129-ubuntu-2404-nvidia-580"

TEMPLATE_KEYS = ("metadata", "provider", "auth", "available_node_types", "file_mounts")
"""Keys of the shipped file that have to be mappings for other files to be made from it."""

Config = dict[str, Any]


def load_cluster(path: Path) -> Config:
    """Read a cluster file.

    Raises:
        SweepError: the file cannot be read, or is not YAML, or not a mapping.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        hint = "give a cluster file; 'unlearn-sweep cluster render' makes one"
        if path == SHIPPED:
            hint = "it comes with a checkout, not with a wheel: git clone the project"
        raise SweepError(f"{path}: {reason}; {hint}") from None
    except yaml.YAMLError as error:
        raise SweepError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(config, dict):
        raise SweepError(f"{path}: expected a mapping of settings, found {type(config).__name__}; see {SHIPPED.name}")
    return config


def render_cluster(
    shipped: Config,
    *,
    provider: str,
    folder: Path,
    storage: str | None = None,
    workers: int | None = None,
    hosts: Sequence[str] = (),
    user: str | None = None,
    ssh_key: str | None = None,
    project: str | None = None,
) -> Config:
    """Return a cluster file made from the shipped one.

    Args:
        shipped: the shipped file.
        provider: ``aws``, ``gcp`` or ``local``.
        folder: the checkout, whose parts are mounted.
        storage: URI that holds the sweeps.
        workers: the most machines beside the head.
        hosts: provider local: names or addresses of the machines, the head's first.
        user: user to log in as by SSH.
        ssh_key: private key file to log in with.
        project: provider gcp: id of the project.

    Raises:
        SweepError: the options do not go together.
    """
    if provider not in PROVIDERS:
        raise SweepError(f"--provider {provider}: unknown; {nearest_name_hint(provider, PROVIDERS)}")
    _require_options(provider, hosts=hosts, ssh_key=ssh_key, project=project)
    _require_template(shipped)
    config = copy.deepcopy(shipped)
    config["file_mounts"] = {
        remote: local if local.startswith("~") else str(folder / local)
        for remote, local in config["file_mounts"].items()
    }
    if storage is not None:
        config["metadata"]["storage"] = storage
    elif provider == "gcp":
        config["metadata"]["storage"] = f"gs://{PLACEHOLDER}/sweeps"
    if workers is not None:
        config["max_workers"] = workers
    if provider == "local":
        _use_own_machines(config, hosts, at_most=workers)
    elif provider == "gcp":
        _use_google(config, project or PLACEHOLDER)
    if user is not None:
        config["auth"]["ssh_user"] = user
    if ssh_key is not None:
        config["auth"]["ssh_private_key"] = ssh_key
    return config


def dump_cluster(config: Config, command: str) -> str:
    """Return the text of a cluster file; its first line is the command that made it."""
    plain = json.loads(json.dumps(config))  # copies shared objects, which YAML would write as anchors
    return f"# {command}\n{yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1000)}"


def up_command(config: Config, path: Path) -> str:
    """Return the command that starts the cluster. Version 2 of the autoscaler starts no workers with provider local."""
    prefix = "RAY_UP_enable_autoscaler_v2=0 " if config["provider"]["type"] == "local" else ""
    return f"{prefix}ray up {shlex.quote(str(path))}"


def _require_template(shipped: Config) -> None:
    """Check that the shipped file still has what other files are made from."""
    missing = [key for key in TEMPLATE_KEYS if not isinstance(shipped.get(key), dict)]
    if missing:
        raise SweepError(
            f"{SHIPPED}: other cluster files are made from this file, and it lacks {', '.join(missing)}; restore it "
            f"(git checkout {SHIPPED.name}), and write other files elsewhere (--out)"
        )


def _require_options(provider: str, *, hosts: Sequence[str], ssh_key: str | None, project: str | None) -> None:
    """Check that the options belong to the provider."""
    if provider == "local" and (len(hosts) < 2 or len(set(hosts)) < len(hosts)):
        raise SweepError(
            f"--hosts: found {', '.join(hosts) or 'nothing'}; provider local needs the head and at least one worker, "
            f"each once: --hosts HEAD,WORKER,..."
        )
    if provider != "local" and hosts:
        raise SweepError(
            f"--hosts: provider {provider} makes its own machines; leave this out, or give --provider local"
        )
    if provider == "aws" and ssh_key is not None:
        raise SweepError(
            "--ssh-key: on AWS, Ray makes its own key; to use one of yours, set auth.ssh_private_key and the KeyName "
            "of both node types in the file"
        )
    if provider != "gcp" and project is not None:
        raise SweepError(f"--project: provider {provider} has no projects; leave this out, or give --provider gcp")


def _use_own_machines(config: Config, hosts: Sequence[str], *, at_most: int | None) -> None:
    """Set up existing machines: Ray uses what each of them has, and as many workers as there are."""
    head, *others = hosts
    config["provider"] = {"type": "local", "head_ip": head, "worker_ips": others}
    config["max_workers"] = config["min_workers"] = min(len(others), at_most or len(others))
    config["auth"] = {"ssh_user": config["auth"]["ssh_user"]}
    del config["available_node_types"]
    config.pop("head_node_type", None)


def _use_google(config: Config, project: str) -> None:
    """Set up machines of Google Cloud like those of the shipped file. Their account may use Cloud Storage."""
    region = "us-central1"
    disk = {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {
            "diskSizeGb": 200,
            "sourceImage": f"projects/deeplearning-platform-release/global/images/family/{GOOGLE_IMAGE}",
        },
    }
    account = {
        "email": f"ray-autoscaler-sa-v1@{project}.iam.gserviceaccount.com",
        "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    }
    spot = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE", "onHostMaintenance": "TERMINATE"}
    config["provider"] = {
        "type": "gcp", "region": region, "availability_zone": f"{region}-a", "project_id": project,
    }  # fmt: skip
    config["available_node_types"] = {
        "head": {"resources": {"CPU": 0}, "node_config": {"machineType": "n2-standard-4", "disks": [disk]}},
        "worker": {
            "min_workers": 0,
            "resources": {"CPU": 8, "GPU": 1},
            "node_config": {
                "machineType": "g2-standard-8",
                "disks": [copy.deepcopy(disk)],
                "scheduling": spot,
                "serviceAccounts": [account],
            },
        },
    }
    config["setup_commands"].append(
        f"~/.local/bin/uv pip install --python {ENVIRONMENT} gcsfs 'google-api-python-client>=2'"
    )
