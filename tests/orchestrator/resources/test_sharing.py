"""How many trials share a device: arithmetic by hand, and that no device ever gets more than it holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.resources import share_devices
from orchestrator.resources.sharing import HEADROOM, costliest, share
from orchestrator.spec import ResourcesConfig
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec
from tests.support import PROPERTY
from trainables.trial import PeakMemory
from trainables.trial.memory import DeviceMemory

GIB = 2**30
H100 = {"name": "H100", "memory": 80 * GIB}
A10 = {"name": "A10", "memory": 24 * GIB}
ON_GPU = ResourcesConfig(gpus_per_trial=1, concurrent_trials="auto")
ON_CPU = ResourcesConfig(concurrent_trials="auto")


def divide(memory_gib=80, peak_gib=10, ram_gib=400, ram_peak_gib=3, cpus=16, cpus_per_trial=1):
    return share(
        device="H100",
        memory_bytes=memory_gib * GIB,
        peak_bytes=int(peak_gib * GIB),
        ram_bytes=ram_gib * GIB,
        ram_peak_bytes=ram_peak_gib * GIB,
        cpus=cpus,
        cpus_per_trial=cpus_per_trial,
    )


def on_h100(peak_gib, total_gib=80):
    device = DeviceMemory(name="H100", peak_bytes=int(peak_gib * GIB), total_bytes=total_gib * GIB)
    return PeakMemory(host_bytes=3 * GIB, device=device)


@pytest.mark.parametrize(
    ("case", "trials", "gpus", "bound"),
    [
        ({}, 7, 0.1428, "memory"),  # 80 x 0.9 / 10 = 7.2
        ({"peak_gib": 72}, 1, 1.0, "memory"),
        ({"peak_gib": 36}, 2, 0.5, "memory"),
        ({"peak_gib": 24}, 3, 0.3333, "memory"),
        ({"peak_gib": 1}, 16, 0.0625, "CPUs"),
        ({"peak_gib": 1, "cpus_per_trial": 3}, 5, 0.2, "CPUs"),
        ({"peak_gib": 1, "cpus": 0.75, "cpus_per_trial": 0.25}, 3, 0.3333, "CPUs"),
        ({"ram_gib": 20}, 6, 0.1666, "RAM"),  # 20 x 0.9 / 3
        ({"peak_gib": 0.5, "ram_peak_gib": 1, "cpus": 256}, 100, 0.01, "the 100 that Ray can count on one GPU"),
    ],
)
def test_memory_less_headroom_is_divided_and_ram_and_cpus_are_bounds(case, trials, gpus, bound):
    sharing = divide(**case)
    assert (sharing.trials_per_device, sharing.gpus_per_trial, sharing.bound) == (trials, gpus, bound)
    assert str(sharing).endswith(f"; bound by {bound}")


@PROPERTY
@given(
    memory=st.integers(1, 2**40),
    peak=st.integers(1, 2**36),
    ram=st.integers(1, 2**40),
    ram_peak=st.integers(1, 2**36),
    cpus=st.floats(0, 512),
    cpus_per_trial=st.floats(0.1, 64),
)
def test_no_gpu_gets_more_than_it_holds(memory, peak, ram, ram_peak, cpus, cpus_per_trial):
    given_ = {"memory_bytes": memory, "peak_bytes": peak, "ram_bytes": ram, "ram_peak_bytes": ram_peak}
    try:
        sharing = share(device="d", **given_, cpus=cpus, cpus_per_trial=cpus_per_trial)
    except SweepError:
        usable = 1 - HEADROOM
        assert peak > memory * usable or ram_peak > ram * usable or cpus_per_trial > cpus
        return
    trials = sharing.trials_per_device
    assert trials * peak <= memory * (1 - HEADROOM)
    assert trials * cpus_per_trial <= cpus * (1 + 1e-6)
    assert int(1 / sharing.gpus_per_trial + 1e-9) == trials, "so many Ray puts on one GPU"
    assert trials <= ray_counts(ram, sharing) <= most(ram, ram_peak), "so many Ray puts beside one GPU"


@PROPERTY
@given(memory=st.integers(1, 2**40), peak=st.integers(1, 2**36), cpus=st.floats(0, 512))
def test_no_machine_gets_more_than_it_holds(memory, peak, cpus):
    try:
        sharing = share(device="d", memory_bytes=memory, peak_bytes=peak, cpus=cpus, cpus_per_trial=1)
    except SweepError:
        assert peak > memory * (1 - HEADROOM) or cpus < 1
        return
    assert sharing.trials_per_device <= cpus * (1 + 1e-6)
    assert sharing.trials_per_device <= ray_counts(memory, sharing) <= most(memory, peak)


def ray_counts(ram, sharing):
    """Count the trials for which a machine has the memory that Ray is asked for."""
    return int(ram / GIB / sharing.memory_gib_per_trial * (1 + 1e-9))


def most(ram, peak):
    return max(1, ram * (1 - HEADROOM) / peak * (1 + 1e-6))


def test_more_than_a_hundred_trials_share_the_ram_of_a_machine():
    sharing = share(device="d", memory_bytes=999 * GIB, peak_bytes=GIB, cpus=192, cpus_per_trial=1)
    assert (sharing.trials_per_device, sharing.bound) == (192, "CPUs")


def test_what_does_not_fit_at_all_is_refused_with_the_arithmetic():
    with pytest.raises(SweepError) as refused:
        divide(peak_gib=73)
    for part in ("73.00 GiB and 3.00 GiB of RAM at its peak and 1 CPUs", "H100 has 80.00 GiB and 400.00 GiB of RAM",
                 "90% of them usable, and 16 CPUs: too little memory", "micro_batch_size"):  # fmt: skip
        assert part in str(refused.value)
    with pytest.raises(SweepError, match="too little RAM"):
        divide(ram_gib=3)


def test_a_gpu_is_shared_by_fractions_and_the_smallest_counts():
    node = {"CPU": 32, "GPU": 2, "memory": 100 * GIB}
    resources, sharing = share_devices(ON_GPU, on_h100(10), nodes=[{"CPU": 8}, node], gpus=[H100, H100])
    assert (sharing.device, sharing.trials_per_device, sharing.cpus) == ("H100", 7, 16)
    assert (resources.gpus_per_trial, resources.memory_gib_per_trial) == (0.1428, pytest.approx(3 / 0.9))
    _, sharing = share_devices(ON_GPU, on_h100(10), nodes=[node], gpus=[H100, A10])
    assert (sharing.device, sharing.trials_per_device) == ("A10", 2)  # 24 x 0.9 / 10 = 2.16


def test_the_ram_beside_a_gpu_is_a_bound_of_the_roomiest_machine_and_ray_holds_others_to_theirs():
    poor, roomy = {"CPU": 32, "GPU": 2, "memory": 20 * GIB}, {"CPU": 32, "GPU": 2, "memory": 40 * GIB}
    resources, sharing = share_devices(ON_GPU, on_h100(10), nodes=[{"CPU": 8}, poor, roomy], gpus=[H100])
    assert (sharing.ram_bytes, sharing.trials_per_device, sharing.bound) == (20 * GIB, 6, "RAM")  # 20 x 0.9 / 3
    asked = resources.worker_resources["memory"]
    assert [int(node["memory"] / asked * (1 + 1e-9)) for node in (poor, roomy)] == [6, 12]


def test_on_cpus_ray_is_asked_for_the_memory_that_one_trial_takes():
    nodes = [
        {"CPU": 64, "memory": 32 * GIB},
        {"CPU": 0, "memory": 999 * GIB},  # a head that runs nothing
        {"CPU": 16, "memory": 10 * GIB},
    ]
    resources, sharing = share_devices(ON_CPU, PeakMemory(host_bytes=3 * GIB, device=None), nodes=nodes, gpus=[])
    assert (sharing.memory_bytes, sharing.cpus, sharing.trials_per_device) == (32 * GIB, 64, 9)
    assert resources.worker_resources["memory"] == pytest.approx(3 / 0.9 * GIB)
    assert resources.gpus_per_trial == 0
    assert [int(node["memory"] // resources.worker_resources["memory"]) for node in (nodes[0], nodes[2])] == [9, 3]


def test_one_line_says_it_and_json_keeps_every_figure():
    sharing = divide()
    assert str(sharing) == (
        "7 trials share H100 of 80.00 GiB, 400.00 GiB of RAM and 16 CPUs: one takes 10.000 GiB and 3.000 GiB of RAM "
        "at its peak; bound by memory"
    )
    assert sharing.as_json() == {
        "device": "H100",
        "memory_bytes": 80 * GIB,
        "peak_bytes": 10 * GIB,
        "ram_bytes": 400 * GIB,
        "ram_peak_bytes": 3 * GIB,
        "cpus": 16,
        "headroom": 0.1,
        "trials_per_device": 7,
        "bound": "memory",
    }
    on_a_machine = share(device="the roomiest machine", memory_bytes=GIB, peak_bytes=GIB // 2, cpus=4, cpus_per_trial=1)
    assert str(on_a_machine) == (
        "1 trials share the roomiest machine of 1.00 GiB and 4 CPUs: one takes 0.500 GiB at its peak; bound by memory"
    )


def test_the_costliest_are_the_largest_passes_of_each_objective_and_optimizer():
    space = {
        "batch_size": {"low": 2, "high": 32},
        "objective": {"choices": {"gradient_ascent": {}, "gradient_difference": {}}},
        "optimizer": {
            "choices": {
                "adamw": {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}},
                "sgd": {"learning_rate": 1e-2, "micro_batch_size": 8},
            }
        },
    }
    found = costliest(make_spec(search={"space": space}))
    assert sorted((config.objective, config.optimizer, config.batch_size) for config in found) == [
        ("gradient_ascent", "adamw", 32),
        ("gradient_ascent", "sgd", 32),
        ("gradient_difference", "adamw", 32),
        ("gradient_difference", "sgd", 32),
    ]


def test_settings_that_make_other_passes_are_measured_too():
    space = {
        "learning_rate": 1e-3,
        "batch_size": 4,
        "objective": {"choices": {"npo": {"retain_weight": [0.0, 0.5, 2.0], "retain_loss": ["nll", "kl"]}}},
    }
    found = costliest(make_spec(search={"space": space}))
    weights = [tuple(config.objective_settings.values()) for config in found]
    assert sorted(weights) == [(0.0, "nll"), (0.5, "kl"), (0.5, "nll")]


def test_auto_divides_one_device_of_one_worker():
    for wrong in ({"gpus_per_trial": 2}, {"workers_per_trial": 2}):
        with pytest.raises(ValueError, match=r"concurrent_trials: auto divides one GPU.*leave concurrent_trials out"):
            ResourcesConfig(concurrent_trials="auto", **wrong)
    assert ON_CPU.concurrent_limit is None
    assert ResourcesConfig(concurrent_trials=3).concurrent_limit == 3


def test_memory_is_asked_for_only_where_it_is_set():
    assert ResourcesConfig().worker_resources == {"CPU": 1, "GPU": 0}
    asked = ResourcesConfig(memory_gib_per_trial=4, workers_per_trial=2, cpus_per_trial=2).worker_resources
    assert asked == {"CPU": 1, "GPU": 0, "memory": 2 * GIB}


def test_facts_are_noted_with_the_session_that_found_them(tmp_path):
    ledger = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny")
    ledger.create("name: tiny", {"sweep": "tiny"}, {"python": "3.11"})
    ledger.note({"sharing": 1})
    ledger.create("name: tiny", {"sweep": "tiny"}, {"python": "3.12"})
    ledger.note({"sharing": 2})
    assert ledger.manifest() == {
        "sweep": "tiny",
        "python": "3.11",
        "sharing": 1,
        "resumed": [{"python": "3.12", "sharing": 2}],
    }
