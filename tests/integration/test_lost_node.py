"""A worker node that vanishes: its trials go on from their checkpoints on the node that is left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.integration.helpers import TINY, rows, start, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that runs no trial, and two nodes that each run one."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


def test_a_sweep_outlives_the_node_that_one_of_its_trials_ran_on(
    cluster: Cluster, tiny_sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes: list[Any] = [cluster.add_node(num_cpus=1) for _ in range(2)]
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    sweep = tiny_sweep.parent / "lost-node"
    process = start("run", str(TINY), "--name", sweep.name, "--storage", str(tiny_sweep.parent), cluster=True)
    wait_until(lambda: list(sweep.glob("evaluations/*.parquet")), process)
    cluster.remove_node(nodes[0], allow_graceful=False)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err + out
    for table in ("trials", "evaluations", "examples"):
        assert rows(sweep, table) == rows(tiny_sweep, table)
