"""The shipped ``cluster.yaml``, and what it becomes for other providers: the parts that differ, in place of its own.

Setup and start commands are the same everywhere. What a file must fulfil is in ``orchestrator.cluster.checks``.
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
PROVIDERS = ("aws", "gcp", "local")
PLACEHOLDER = "CHANGE-ME"
"""Stands where only the user knows."""
ENVIRONMENT = "~/unlearn-sweep/.venv"
"""Where the setup commands install."""
GOOGLE_IMAGE = "common-cu129-ubuntu-2404-nvidia-580"

TEMPLATE_KEYS = ("metadata", "provider", "auth", "available_node_types", "file_mounts")
"""Mappings of the shipped file that others are made of."""

Config = dict[str, Any]


def load_cluster(path: Path) -> Config:
    """Read a cluster file.

    Raises:
        SweepError: it cannot be read, or is not YAML, or no mapping.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        hint = "it comes with a checkout, not with a wheel: git clone the project" if path == SHIPPED else "give a file"
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
    """Make a cluster file of the shipped one.

    Args:
        shipped: the shipped file.
        provider: ``aws``, ``gcp`` or ``local``.
        folder: the checkout, whose parts are mounted.
        storage: URI that holds sweeps.
        workers: machines beside the head, at most.
        hosts: provider local: names or addresses, the head's first.
        user: whom to log in as by SSH.
        ssh_key: a private key file.
        project: provider gcp: the project's id.

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
        _on_own_machines(config, hosts, at_most=workers)
    elif provider == "gcp":
        _on_google(config, project or PLACEHOLDER)
    if user is not None:
        config["auth"]["ssh_user"] = user
    if ssh_key is not None:
        config["auth"]["ssh_private_key"] = ssh_key
    return config


def dump_cluster(config: Config, command: str) -> str:
    """Write a cluster file; its first line says how it was made."""
    plain = json.loads(json.dumps(config))  # without the anchors of what is the same object
    return f"# {command}\n{yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1000)}"


def up_command(config: Config, path: Path) -> str:
    """Give the command that starts the cluster: version 2 of the autoscaler starts no worker of provider local."""
    prefix = "RAY_UP_enable_autoscaler_v2=0 " if config["provider"]["type"] == "local" else ""
    return f"{prefix}ray up {shlex.quote(str(path))}"


def _require_template(shipped: Config) -> None:
    missing = [key for key in TEMPLATE_KEYS if not isinstance(shipped.get(key), dict)]
    if missing:
        raise SweepError(
            f"{SHIPPED}: it is what other files are made of, and lacks {', '.join(missing)}; put the shipped one back "
            f"(git checkout {SHIPPED.name}), and write others elsewhere (--out)"
        )


def _require_options(provider: str, *, hosts: Sequence[str], ssh_key: str | None, project: str | None) -> None:
    if provider == "local" and (len(hosts) < 2 or len(set(hosts)) < len(hosts)):
        raise SweepError(
            f"--hosts: found {', '.join(hosts) or 'nothing'}; provider local needs the head and at least one worker, "
            f"each once: --hosts HEAD,WORKER,..."
        )
    if provider != "local" and hosts:
        raise SweepError(f"--hosts: provider {provider} makes its own machines; leave it out, or give --provider local")
    if provider == "aws" and ssh_key is not None:
        raise SweepError(
            "--ssh-key: on AWS Ray makes a key of its own; for one of yours, set auth.ssh_private_key and the KeyName "
            "of both node types in the file"
        )
    if provider != "gcp" and project is not None:
        raise SweepError(f"--project: provider {provider} knows no projects; leave it out, or give --provider gcp")


def _on_own_machines(config: Config, hosts: Sequence[str], *, at_most: int | None) -> None:
    """Machines that are there: Ray takes what each has, and as many workers as there are."""
    head, *others = hosts
    config["provider"] = {"type": "local", "head_ip": head, "worker_ips": others}
    config["max_workers"] = config["min_workers"] = min(len(others), at_most or len(others))
    config["auth"] = {"ssh_user": config["auth"]["ssh_user"]}
    del config["available_node_types"]
    config.pop("head_node_type", None)


def _on_google(config: Config, project: str) -> None:
    """Machines of Google Cloud like those of the shipped file. Their account may use Cloud Storage."""
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
