"""The contract of a group of workers, for one process and for several."""

import numpy as np
import pytest
import torch

from tests.trainables.gloo import GlooGroup
from trainables.distributed import ALONE, current_worker_group

INDICES = np.arange(7)


@pytest.fixture(scope="module", params=[1, 3])
def run(request, tmp_path_factory):
    """Run a function in every process of a group, and return the results by rank."""
    group = GlooGroup(request.param, tmp_path_factory.mktemp("group"))
    yield group
    group.close()


def _shard():
    return current_worker_group().shard(INDICES)


def _decide():
    group = current_worker_group()
    asked = []
    return group.broadcast_result(lambda: asked.append(group.rank) or f"of {group.rank}"), asked


def _fail():
    group = current_worker_group()

    def decision():
        raise LookupError(f"raised by {group.rank}")

    try:
        group.broadcast_result(decision)
    except LookupError as error:
        return str(error)


def _reduce():
    group = current_worker_group()
    own = torch.tensor([1.0, group.rank], requires_grad=True)
    return group.all_reduce_sum(own).tolist(), own.tolist()


def _broadcast():
    group = current_worker_group()
    return group.broadcast(torch.full((2,), float(group.rank + 5))).tolist()


def test_shards_have_every_index_once_and_nearly_equal_sizes(run):
    shards = run(_shard)
    assert sorted(np.concatenate(shards)) == INDICES.tolist()
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_the_leader_alone_decides_and_all_have_its_result(run):
    results = run(_decide)
    assert [answer for answer, _ in results] == ["of 0"] * len(results)
    assert [asked for _, asked in results] == [[0], *([] for _ in results[1:])]


def test_what_the_leader_raises_is_raised_by_all(run):
    assert set(run(_fail)) == {"raised by 0"}


def test_a_sum_is_of_all_workers_and_leaves_their_tensors_alone(run):
    results = run(_reduce)
    size = len(results)
    assert [total for total, _ in results] == [[float(size), float(sum(range(size)))]] * size
    assert [own for _, own in results] == [[1.0, float(rank)] for rank in range(size)]


def test_all_have_the_leaders_tensor(run):
    results = run(_broadcast)
    assert results == [[5.0, 5.0]] * len(results)


def test_a_process_without_others_is_alone():
    assert current_worker_group() is ALONE
    assert (ALONE.rank, ALONE.size, ALONE.is_leader) == (0, 1, True)
