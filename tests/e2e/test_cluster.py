"""``ray up`` for real, with the shipped ``cluster.yaml``: a sweep outlives a worker node, a stop, and its head.

Four hosts (tests/e2e/hosts.py): a laptop that has the project, a key and the token, a head and two workers. Only the
provider, whom to log in as and the hosts are other than shipped; setup and start commands are the same. The storage is
an S3 server on the bridge that joins them. One story, since each start of a cluster takes its time.
"""

import contextlib
import json
import re
import shutil
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.e2e.hosts import PREFIX, ROOT, Host, network, require_namespaces, wait_until
from tests.integration.helpers import TINY, rows
from tests.s3 import serve_s3, variables

pytestmark = pytest.mark.slow

STORAGE = "s3://bucket/sweeps"
DASHBOARD = "http://127.0.0.1:8265"
UNLEARN_SWEEP = "python -m orchestrator"
FILE = "~/cluster.yaml"
UP = f"RAY_UP_enable_autoscaler_v2=0 ray up --yes {FILE}"
CURL = "curl --silent --max-time 60"
SMALL = "--memory=1000000000 --object-store-memory=100000000"
"""Bytes: each host believes that the whole machine's memory is its own."""


@dataclass(frozen=True)
class Cluster:
    laptop: Host
    head: Host
    workers: list[Host]
    folder: Path
    """Where the S3 server keeps what is under STORAGE."""

    @property
    def sweep(self) -> Path:
        return self.folder / "tiny"

    def up(self) -> None:
        """Start it, open the tunnel to its dashboard, and wait until all nodes are there."""
        self.laptop.run(UP)
        self.laptop.start(f"ray dashboard {FILE} > ~/tunnel.log 2>&1")
        expected = {self.head.address: 0, **{worker.address: 1 for worker in self.workers}}
        wait_until(lambda: self.nodes() == expected, f"nodes with CPUs for trials {expected}")

    def nodes(self) -> dict[str, float]:
        """The CPUs of each node that lives, as the dashboard tells who has the token."""
        header = '-H "Authorization: Bearer $(cat ~/.ray/auth_token)"'
        said = self.laptop.start(f"{CURL} {header} {DASHBOARD}/api/v0/nodes").communicate()[0]
        nodes = json.loads(said)["data"]["result"]["result"] if said.startswith("{") else []  # else: no tunnel yet
        return {node["node_ip"]: node["resources_total"].get("CPU", 0) for node in nodes if node["state"] == "ALIVE"}

    def ask(self, command: str) -> str:
        return self.laptop.run(f"{UNLEARN_SWEEP} {command} --storage {STORAGE} --address {DASHBOARD}")

    def trials(self) -> dict[str, dict[str, Any]]:
        """Each trial's row and its evaluations; none while a file is just being written."""
        with contextlib.suppress(duckdb.IOException, duckdb.InvalidInputException):
            evaluations = whole_rows(self.sweep, "evaluations")
            return {
                row["trial_id"]: row | {"evaluations": [e for e in evaluations if e["trial_id"] == row["trial_id"]]}
                for row in whole_rows(self.sweep, "trials")
            }
        return {}

    def hold(self, held: bool) -> None:
        """Stop time for all processes on the workers, or let it go on."""
        for host in self.workers:
            host.signal("STOP" if held else "CONT")

    def hold_halfway(self, *, trials: int) -> dict[str, list[dict[str, Any]]]:
        """Stop time, if just then so many trials have evaluations and go on; give those."""
        self.hold(True)
        halfway = {
            n: row["evaluations"] for n, row in self.trials().items() if not row["status"] and row["evaluations"]
        }
        if len(halfway) < trials:
            self.hold(False)
            return {}
        return halfway

    def ended(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Give all trials once those have been completed."""
        trials = self.trials()
        return trials if all(name in trials and trials[name]["status"] == "completed" for name in names) else {}

    def is_stopping(self) -> bool:
        """Tell whether the first driver has asked its trials to stop; no while its file is just being written."""
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads((self.sweep / "drivers" / "000001.json").read_text())["stopping"]
        return False

    def count(self) -> int:
        return sum(len(row["evaluations"]) for row in self.trials().values())


def whole_rows(sweep: Path, table: str) -> list[dict[str, Any]]:
    result = duckdb.sql(f"select * from read_parquet('{sweep}/{table}/*.parquet') order by all")
    return result.to_arrow_table().to_pylist()


@pytest.fixture
def cluster(tmp_path: Path, tiny_sweep: Path) -> Iterator[Cluster]:
    require_namespaces()
    bucket = tmp_path / "s3" / "bucket" / "sweeps"
    shutil.copytree(tiny_sweep.parent / ".models", bucket / ".models")  # trained already
    with network(tmp_path / "hosts") as net, serve_s3(tmp_path / "s3", f"{PREFIX}1", net.inside) as s3:
        exports = variables(s3.endpoint) | {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        worker = exports | {"RAY_START_OPTIONS": f"{SMALL} --num-cpus=1"}
        laptop, head, *workers = net.add(
            {
                "laptop": exports | {"PYTHONPATH": str(ROOT)},
                "head": exports | {"RAY_START_OPTIONS": SMALL},
                "worker-1": worker,
                "worker-2": worker,
            }
        )
        shutil.copy(net.key, laptop.folder / ".ssh" / "id")
        yield Cluster(laptop=laptop, head=head, workers=workers, folder=bucket)


def test_a_sweep_outlives_a_worker_a_stop_and_its_head(cluster: Cluster, tiny_sweep: Path) -> None:
    write_the_file(cluster)
    cluster.up()
    nothing_is_open_to_the_network(cluster)
    a_storage_that_workers_do_not_see_is_refused(cluster)
    cluster.ask(f"submit {TINY} --no-check")  # to save time: tests/integration/test_submit.py has it checked
    following = cluster.laptop.start(f"{UNLEARN_SWEEP} logs tiny --follow --address {DASHBOARD}")
    a_killed_worker_gives_its_trial_to_the_other(cluster)
    a_stopped_sweep_saves_its_trials(cluster)
    assert "trials 0/8" in cluster.laptop.finish(following, exit_code=128 + signal.SIGTERM)
    sql = "select host, count(*) as trials from trials where status = 'completed' group by host order by host"
    said = cluster.laptop.run(f'{UNLEARN_SWEEP} query tiny "{sql}" --format json --storage {STORAGE}')
    assert [row["host"] for row in json.loads(said)] == ["worker-1", "worker-2"]

    cluster.ask("resume tiny")
    a_killed_head_is_started_again(cluster)
    cluster.ask("resume tiny --take-over")
    cluster.laptop.run(f"{UNLEARN_SWEEP} logs tiny --follow --address {DASHBOARD}")
    for table in ("trials", "evaluations", "examples"):
        assert rows(cluster.sweep, table) == rows(tiny_sweep, table)
    assert {row["host"] for row in cluster.trials().values()} == {"worker-1", "worker-2"}
    cluster.laptop.run(f"ray down --yes {FILE}")
    assert "raylet" not in cluster.head.run("ps -e")


def write_the_file(cluster: Cluster) -> None:
    """As an on-premises user would."""
    hosts = ",".join(host.name for host in (cluster.head, *cluster.workers))
    options = f"--provider local --hosts {hosts} --user root --ssh-key ~/.ssh/id --storage {STORAGE}"
    cluster.laptop.run("ray get-auth-token --generate")
    cluster.laptop.run(f"{UNLEARN_SWEEP} cluster render {options} --out {FILE}")
    cluster.laptop.run(f"{UNLEARN_SWEEP} cluster check {FILE}")
    shipped, used = (yaml.safe_load(f.read_text()) for f in (ROOT / "cluster.yaml", cluster.laptop.folder / FILE[2:]))
    same = [key for key in shipped if "commands" in key]
    assert len(same) == 6
    assert {key: shipped[key] for key in same} == {key: used[key] for key in same}


def nothing_is_open_to_the_network(cluster: Cluster) -> None:
    """Nobody gets at the dashboard but through SSH, and through it nobody without the token."""
    refused = cluster.laptop.start(f"{CURL} http://{cluster.head.name}:8265")
    cluster.laptop.finish(refused, exit_code=7)
    assert cluster.laptop.run(f"{CURL} --output /dev/null --write-out %{{http_code}} {DASHBOARD}/api/jobs/") == "401"


def a_storage_that_workers_do_not_see_is_refused(cluster: Cluster) -> None:
    """Each host has a /tmp of its own."""
    command = f"{UNLEARN_SWEEP} submit {TINY} --storage /tmp/sweeps --address {DASHBOARD} 2>&1"
    said = cluster.laptop.finish(cluster.laptop.start(command), exit_code=2)
    for worker in cluster.workers:
        assert re.search(rf"{worker.name} .*: a file that was just written is not there", said)
    assert "nothing was started" in said


def a_killed_worker_gives_its_trial_to_the_other(cluster: Cluster) -> None:
    """Its raylet and all under it are killed while each host is in the middle of a trial; both end on the other host.

    Alone, a raylet's death would be noticed by its workers within a second, in which a short trial may end.
    """
    lost, left = cluster.workers
    wait_until(
        lambda: {row["host"] for row in cluster.trials().values() if row["status"]} == {lost.name, left.name},
        "a trial completed on each host",
    )  # fmt: skip
    under_way = wait_until(lambda: cluster.hold_halfway(trials=2), "both hosts in the middle of a trial", poll_s=0.05)
    cluster.laptop.network.note(f"SIGKILL of {lost.name}'s raylet and workers; under way: {', '.join(under_way)}")
    lost.signal("KILL")
    lost.lock(True)  # so that it is not started again before its trial has ended
    left.signal("CONT")
    ended = wait_until(lambda: cluster.ended(under_way), "the ends of both trials")
    cluster.laptop.network.note(f"both ended on {left.name}")
    for name, before in under_way.items():
        assert ended[name]["host"] == left.name
        assert ended[name]["evaluations"][: len(before)] == before, "it went on from its checkpoint: times and all"


def a_stopped_sweep_saves_its_trials(cluster: Cluster) -> None:
    wait_until(lambda: cluster.hold_halfway(trials=1), "a trial under way on the host that is left", poll_s=0.05)
    stopping = cluster.laptop.start(f"{UNLEARN_SWEEP} stop tiny --storage {STORAGE}")
    wait_until(cluster.is_stopping, "the driver's word to its trials")
    cluster.hold(False)
    cluster.laptop.finish(stopping)
    status = json.loads(cluster.ask("status tiny --json"))
    assert status["driver"] is None
    assert status["statuses"].keys() == {"completed", "stopped"}


def a_killed_head_is_started_again(cluster: Cluster) -> None:
    before = len(rows(cluster.sweep, "evaluations"))
    wait_until(lambda: cluster.count() > before, "progress after the stop")
    cluster.laptop.network.note("SIGKILL of all that runs on the head, and it boots again")
    cluster.head.kill()
    cluster.head.boot()
    cluster.laptop.signal("KILL", "[s]sh ")  # they wait for the head that was
    cluster.workers[0].lock(False)
    cluster.up()
