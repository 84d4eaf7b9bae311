"""All tests of the science layer use one thread, since the number of threads changes rounding.

Rows and checkpoints are written at once, so that no step is taken meanwhile; ``trial/test_sinks.py`` has real threads.
"""

from concurrent.futures import Future

import pytest
import torch

from trainables.distributed import leader_checkpoints


class AtOnce:
    """An executor that does what it is given before ``submit`` returns."""

    def __init__(self, **_):
        pass

    def submit(self, function):
        done = Future()
        try:
            done.set_result(function())
        except Exception as error:
            done.set_exception(error)
        return done

    def shutdown(self):
        pass


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _writes_at_once(request, monkeypatch):
    if request.node.path.stem != "test_sinks":
        monkeypatch.setattr(leader_checkpoints, "ThreadPoolExecutor", AtOnce)
