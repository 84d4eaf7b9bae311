"""How many trials a cluster holds, and the arithmetic it refuses with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SweepError
from orchestrator.resources.cluster_capacity import Capacity, NodeKind, declared_kinds
from orchestrator.spec import ResourcesConfig


def nodes(*shapes):
    return tuple(NodeKind(count=1, resources={"CPU": cpu, "GPU": gpu}) for cpu, gpu in shapes)


def held(capacity, **resources):
    return capacity.trials(ResourcesConfig(**resources))


def refusal(capacity, **resources):
    with pytest.raises(SweepError) as caught:
        capacity.at_once(ResourcesConfig(**resources), asked=None)
    return str(caught.value)


def test_a_trial_is_not_spread_over_machines_unless_it_has_several_workers():
    capacity = Capacity(present=nodes((3, 0), (3, 0)))
    assert held(capacity, cpus_per_trial=2) == 2
    assert held(capacity, cpus_per_trial=4) == 0
    assert held(capacity, cpus_per_trial=4, workers_per_trial=4) == 1
    assert held(capacity, cpus_per_trial=4, workers_per_trial=2) == 1


def test_trials_share_a_gpu():
    capacity = Capacity(present=nodes((16, 2)))
    assert held(capacity, gpus_per_trial=0.25) == 8
    assert held(capacity, gpus_per_trial=0.3) == 6
    assert held(capacity, cpus_per_trial=4, gpus_per_trial=0.25) == 4


@given(st.integers(1, 16), st.integers(1, 8))
def test_equal_shares_of_a_gpu_all_fit(shares, gpus):
    """A share like 1/3 or 0.1 is not a binary number."""
    assert held(Capacity(present=nodes((1000, gpus))), gpus_per_trial=1 / shares, cpus_per_trial=1) == shares * gpus


def test_no_more_run_at_once_than_was_asked_for_and_than_fit():
    capacity = Capacity(present=nodes((4, 0)))
    assert [capacity.at_once(ResourcesConfig(), asked=asked) for asked in (None, 3, 9)] == [4, 3, 4]


def test_what_never_fits_is_refused_with_the_arithmetic():
    message = refusal(Capacity(present=nodes((4, 0), (4, 0), (0, 0))), gpus_per_trial=1)
    assert "a trial takes 1 CPU, 1 GPU on one machine" in message
    assert "the cluster has 2 x (4 CPU, 0 GPU), 1 x (0 CPU, 0 GPU)" in message
    wide = refusal(Capacity(present=nodes((1, 1))), gpus_per_trial=2, workers_per_trial=2)
    assert "2 workers, each with 0.5 CPU, 1 GPU" in wide
    assert "room for 1 such workers" in wide


def test_a_cluster_that_grows_holds_what_it_may_grow_to():
    config = {
        "max_workers": 3,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 0}, "max_workers": 0},
            "small": {"resources": {"CPU": 4}, "max_workers": 2},
            "large": {"resources": {"CPU": 8, "GPU": 2}, "max_workers": 2},
        },
    }
    capacity = Capacity(present=nodes((0, 0)), declared=declared_kinds(config))
    assert held(capacity, gpus_per_trial=1) == 4
    assert held(capacity, cpus_per_trial=4) == 5, "two large and one small: max_workers is of the cluster"
    assert "at its largest 2 x (8 CPU, 2 GPU)" in refusal(capacity, gpus_per_trial=4)


def test_nodes_that_do_not_say_what_they_have_count_once_they_are_there():
    config = {
        "max_workers": 2,
        "head_node_type": "local",
        "available_node_types": {"local": {"resources": {}, "max_workers": 2}},
    }
    assert declared_kinds(config) == ()
    assert held(Capacity(present=nodes((2, 0)), declared=declared_kinds(config))) == 2


def test_memory_counts_where_a_trial_takes_some_and_a_machine_tells_of_it():
    told = NodeKind(count=1, resources={"CPU": 8, "memory": 4 * 2**30})
    assert held(Capacity(present=(told,)), memory_gib_per_trial=1.5) == 2
    assert held(Capacity(present=nodes((8, 0))), memory_gib_per_trial=1.5) == 8
    assert "takes 1 CPU, 0 GPU, 5.0 GiB on one" in refusal(Capacity(present=(told,)), memory_gib_per_trial=5)
