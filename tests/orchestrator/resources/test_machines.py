"""What a sweep notes of machines that come while it prepares, without Ray."""

from types import SimpleNamespace

import pytest

from orchestrator.driver import Interrupt
from orchestrator.ledger import Ledger
from orchestrator.resources import sessions as ray_session
from orchestrator.resources.cluster_capacity import Capacity, NodeKind
from orchestrator.run import session as session_module
from orchestrator.run.executors import ray_executor
from orchestrator.spec import dump_spec
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec
from trainables.trial import PeakMemory
from trainables.trial.memory import DeviceMemory

GIB = 2**30
MACHINE = {"cpu": "x86_64", "cpus": 8, "memory": 16.0}
HEAD = {**MACHINE, "host": "head", "gpus": [{"name": "display card", "memory": 2 * GIB}]}
WORKER = {
    **MACHINE,
    "host": "worker",
    "gpus": [{"name": "A10", "memory": 24 * GIB}, {"name": "L4", "memory": 22 * GIB}],
}


def node(host, alive=True, **resources):
    return {
        "NodeManagerHostname": host,
        "NodeManagerAddress": "10.0.0.1",
        "NodeID": f"{host}-0123456789",
        "Alive": alive,
        "Resources": resources,
    }


HEAD_NODE = node("head", CPU=4, memory=8 * GIB)
WORKER_NODE = node("worker", CPU=8, GPU=2, memory=64 * GIB)


def answer(monkeypatch, nodes, answers):
    """Let Ray have these machines, which tell these things of themselves."""
    named = {ray_session._name(there): told for there, told in zip(nodes, answers, strict=True)}
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr(ray_session, "on_every_node", lambda _: named)


def test_gpus_are_those_of_machines_that_offer_them_to_ray_and_answer(monkeypatch):
    nodes = [HEAD_NODE, WORKER_NODE, node("silent", GPU=1), node("lost", alive=False, GPU=4)]
    answer(monkeypatch, nodes, [HEAD, WORKER, TimeoutError("no answer"), WORKER])
    assert ray_session.offered_gpus() == WORKER["gpus"]


class Silent:
    def __getattr__(self, _):
        return lambda *_, **__: None


@pytest.mark.parametrize("grows", [True, False])
def test_a_sweep_notes_and_shares_the_machines_that_came_while_it_prepared(monkeypatch, tmp_path, grows):
    spec = make_spec(resources={"gpus_per_trial": 1, "concurrent_trials": "auto"})
    ledger = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny")
    shares = []
    search = SimpleNamespace(
        superseded=[],
        total=1,
        statuses={},
        studies={},
        run_at_once=lambda _, *, gpus_per_trial: shares.append(gpus_per_trial),
    )
    interrupt = Interrupt()
    executor = ray_executor.RayExecutor(interrupt)
    executor._limit_s = 1.0
    session = session_module.Session(
        spec=spec,
        root=ledger.storage,
        ledger=ledger,
        replicates=[SimpleNamespace(workload_hash="workload")],
        search=search,
        executor=executor,
        events=Silent(),
        interrupt=interrupt,
        lease=Silent(),
    )
    before = [HEAD_NODE] if grows else [HEAD_NODE, WORKER_NODE]
    answer(monkeypatch, before, [HEAD, WORKER][: len(before)])

    def prepare(_):
        answer(monkeypatch, [HEAD_NODE, WORKER_NODE], [HEAD, {**WORKER, "seen": "late"}])
        return [None]

    device = DeviceMemory(name="A10", peak_bytes=4 * GIB, total_bytes=24 * GIB)
    ran = {}
    for name, stand_in in {
        "require_shared": lambda _: None,
        "capacity": lambda: Capacity(present=(NodeKind(count=1, resources=WORKER_NODE["Resources"]),)),
        "measure": lambda *_: "measuring",
        "fetch": lambda *_: PeakMemory(host_bytes=GIB, device=device),
    }.items():
        monkeypatch.setattr(ray_executor, name, stand_in)
    monkeypatch.setattr(session_module, "export_journal", lambda *_: None)
    monkeypatch.setattr(executor, "run_trials", lambda _, **given: ran.update(given))
    monkeypatch.setattr("ray.wait", lambda references, **_: (references, []))
    monkeypatch.setattr(session_module.Session, "_prepare", prepare)
    ledger.manifest.create(dump_spec(spec), {"sweep": "tiny"}, {})
    session.run(workers=None)
    noted = ledger.manifest.read()
    assert noted["sharing"]["device"] == "L4", "the smallest that Ray offers, though it came late"
    assert [machine.get("seen") for machine in noted["workers"]] == [None, "late" if grows else None]
    assert ran["concurrent"] == 2 * noted["sharing"]["trials_per_device"]
    assert shares == [ran["resources"].gpus_per_trial], "what a budget of GPU-hours counts"
