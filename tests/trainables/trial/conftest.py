"""A sink's thread writes at once in these tests: no step is taken meanwhile. ``test_sinks`` has real threads."""

from concurrent.futures import Future

import pytest

from trainables.trial import sinks


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


@pytest.fixture(autouse=True)
def _writes_at_once(request, monkeypatch):
    if request.node.path.stem != "test_sinks":
        monkeypatch.setattr(sinks, "ThreadPoolExecutor", AtOnce)
