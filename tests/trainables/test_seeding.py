"""Named seed streams: distinct, reproducible, and without effect on the global generators."""

import hashlib
import itertools

import pytest
import torch

from trainables.seeding import derive_seed, generator
from trainables.torch_seeding import seeded_torch


def test_streams_of_different_roots_names_orders_and_types_differ():
    paths = [
        (0,),
        (1,),
        (0, "a"),
        (0, "b"),
        (0, "a", "b"),
        (0, "b", "a"),
        (0, "ab"),
        (0, 1),
        (0, "1"),
        (0, "a", 1),
        (0, "a1"),
    ]
    seeds = [derive_seed(*path) for path in paths]
    assert all(left != right for left, right in itertools.combinations(seeds, 2))
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_repeats_itself():
    assert generator(3, "x").integers(0, 1000, 8).tolist() == generator(3, "x").integers(0, 1000, 8).tolist()
    assert generator(3, "x").integers(0, 1000, 8).tolist() != generator(3, "y").integers(0, 1000, 8).tolist()


def test_derived_seeds_never_change_between_versions():
    for text, seed in (("0", derive_seed(0)), ("7\x1fstr:forget\x1fint:2", derive_seed(7, "forget", 2))):
        assert seed == int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) // 2


def test_a_seeded_block_depends_on_its_name_and_restores_the_global_state():
    torch.manual_seed(1)
    expected_after = torch.rand(3).tolist()
    torch.manual_seed(1)
    with seeded_torch(5, "dropout", 1):
        first = torch.rand(3).tolist()
    assert torch.rand(3).tolist() == expected_after
    with seeded_torch(5, "dropout", 1):
        assert torch.rand(3).tolist() == first
    with seeded_torch(5, "dropout", 2):
        assert torch.rand(3).tolist() != first


def test_a_seeded_block_restores_the_global_state_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded_torch(0, "x"):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
