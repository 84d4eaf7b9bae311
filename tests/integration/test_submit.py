"""A sweep on a cluster with token authentication, from a machine that has only its address and the storage."""

import contextlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.helpers import COMMAND, INLINE, TINY, call, own_numbers, rows, wait_until, write_own_spec
from tests.limits import HANG_S
from tests.plugins import SHOWN, write_plugin

pytestmark = pytest.mark.slow

Environment = dict[str, str]


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
dashboard, agent = map(int, sys.argv[1:])  # another Ray of this machine may have the usual ones
head = {
    "num_cpus": 2, "include_dashboard": True, "dashboard_port": dashboard, "dashboard_agent_listen_port": agent,
}
cluster = Cluster(initialize_head=True, head_node_args=head)
print(cluster.head_node.address_info["webui_url"], flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def laptop() -> Environment:
    """The environment of a machine that has the token; its ``python`` is this one."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture(scope="module")
def address(laptop: Environment) -> Iterator[str]:
    """The dashboard of a cluster that wants the token. Ray reads its mode once, so it is a process of its own."""
    command = [sys.executable, "-c", CLUSTER, *map(str, free_ports(2))]
    cluster = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=laptop)
    assert cluster.stdout is not None
    yield f"http://{cluster.stdout.readline().strip()}"
    cluster.communicate(timeout=HANG_S)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens at, below those that a system gives out: Ray opens hundreds of connections, and
    one of them would take a port of that range before the process that it is meant for."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)  # no secret
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            found += [port] * (port not in found)
    return found


def start(laptop: Environment, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=laptop
    )


def ask(laptop: Environment, *arguments: str) -> tuple[int, str, str]:
    process = start(laptop, *arguments)
    out, err = process.communicate(timeout=HANG_S)
    return process.returncode, out, err


def test_a_submitted_sweep_whose_driver_is_killed_goes_on_by_itself(
    address: str, laptop: Environment, tiny_sweep: Path
) -> None:
    storage, sweep = tiny_sweep.parent, tiny_sweep.parent / "submitted"
    where = ("--storage", str(storage), "--address", address)
    spec = (str(TINY), "--set", "search.trials=2")
    process = start(laptop, "submit", *spec, "--name", sweep.name, *where, "--retries", "1", "--follow")
    wait_until(lambda: list(sweep.glob("evaluations/*.parquet")), process)
    driver = json.loads((sweep / "drivers" / "000001.json").read_text())
    os.kill(driver["pid"], signal.SIGKILL)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err + out
    assert call("run", *spec, "--name", "unbroken", "--storage", str(storage), *INLINE).returncode == 0
    for table in ("trials", "evaluations", "examples"):
        assert rows(sweep, table) == rows(storage / "unbroken", table)
    assert "ended by SIGKILL" in out
    assert "SUCCEEDED" in err

    code, out, err = ask(laptop, "status", sweep.name, *where, "--json")
    assert code == 0, err
    status = json.loads(out)
    assert (status["proposed"], status["job"]["status"], status["job"]["exit_code"]) == (4, "SUCCEEDED", 0)
    assert sweep.name in ask(laptop, "status", *where)[1]
    code, out, err = ask(laptop, "logs", sweep.name, "--address", address)
    assert (code, "done: 4 trials" in out) == (0, True), err
    assert ask(laptop, "stop", sweep.name, *where)[0] == 0, "it has ended: there is nothing to do"


def test_a_job_takes_a_plugin_file_along(address: str, laptop: Environment, storage: Path, tmp_path: Path) -> None:
    sweep, plugin = storage / "submitted-own", write_plugin(tmp_path, SHOWN)
    where = ("--storage", str(storage), "--address", address)
    spec = str(write_own_spec(tmp_path))
    code, out, err = ask(laptop, "submit", spec, "--name", sweep.name, *where, "--plugin", str(plugin), "--follow")
    assert code == 0, err + out
    assert {row["objective"] for row in rows(sweep, "evaluations")} == {"scaled_ascent"}
    shipped = ("--name", "shipped", "--storage", str(storage), "--set", "search.space.objective=gradient_ascent")
    assert call("run", spec, *shipped, *INLINE).returncode == 0
    for table in ("evaluations", "examples"):
        assert own_numbers(sweep, table) == own_numbers(storage / "shipped", table), "with factor 1 it repeats ascent"
    (record,) = json.loads((sweep / "sweep.json").read_text())["plugins"]
    assert record["file"] == plugin.name


def test_what_the_cluster_can_never_run_is_refused_and_nothing_is_started(
    address: str, laptop: Environment, tmp_path: Path
) -> None:
    where = ("--storage", str(tmp_path), "--address", address)
    code, _, err = ask(laptop, "submit", str(TINY), *where, "--set", "resources.gpus_per_trial=2")
    assert code == 2
    assert "a trial takes 1 CPU, 2 GPU on one machine, and the cluster has 1 x (2 CPU, 0 GPU" in err
    assert not (tmp_path / "tiny").exists()


def test_without_the_token_the_fix_is_printed(address: str, laptop: Environment, tmp_path: Path) -> None:
    code, _, err = ask(laptop | {"RAY_AUTH_MODE": "disabled"}, "submit", "--storage", "/s", "--address", address)
    assert code == 2
    assert "export RAY_AUTH_MODE=token" in err


def test_a_sweep_that_has_no_job_is_answered_with_those_that_have(address: str, laptop: Environment) -> None:
    code, _, err = ask(laptop, "logs", "nothing", "--address", address)
    assert code == 2
    assert "no job of 'nothing'" in err
