"""Put first on PYTHONPATH, every process notes each ascent step and evaluation in the file that NOTES names."""

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder


def _note(*what: object) -> None:
    descriptor = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(map(str, what)) + "\n").encode())
    os.close(descriptor)


def _watch(module) -> None:
    """Note what happens in the trials of this module, ``trainables.trial.trial_run``."""
    ascent, engine_module = sys.modules["trainables.trial.ascent"], sys.modules["trainables.trial.engine"]
    real_advance, real_evaluate = ascent.Ascent.advance, engine_module.evaluate

    class Noting(module.TrialRun):
        def __init__(self, engine, trial, *args, **kwargs):
            engine.model.trial_id = trial.trial_id
            super().__init__(engine, trial, *args, **kwargs)

    def advance(self, to_step):
        _note("step", self._model.trial_id, to_step)
        real_advance(self, to_step)

    def evaluate(model, *args, **kwargs):
        result = real_evaluate(model, *args, **kwargs)
        _note("evaluate", model.trial_id, kwargs["step"])
        return result

    module.TrialRun, ascent.Ascent.advance, engine_module.evaluate = Noting, advance, evaluate


class _Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        spec = PathFinder.find_spec(name, path) if name == "trainables.trial.trial_run" else None
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, real):
        self._real = real

    def create_module(self, spec):
        return self._real.create_module(spec)

    def exec_module(self, module):
        self._real.exec_module(module)
        _watch(module)


if "NOTES" in os.environ:
    sys.meta_path.insert(0, _Finder())
