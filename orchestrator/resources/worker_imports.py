"""What a worker imports before it has work: PyTorch, Transformers, and what trains, measures and unlearns.

Nothing of it asks CUDA, whose devices Ray names with the work.
"""

import gc
from importlib import import_module

MODULES = (
    "orchestrator.preparation.model_training",
    "orchestrator.preparation.workloads",
    "orchestrator.preparation.checking.input_checks",
    "trainables.tune.narrow",
    "trainables.trial.trial_run",
)


def _import() -> None:
    """Import them, and keep the garbage collector from what they define.

    Looking for garbage meanwhile is a sixth of the time, and later 0.4 s of a collection: each trial starts with one.
    """
    gc.disable()
    try:
        for name in MODULES:
            import_module(name)
    finally:
        gc.enable()
    gc.freeze()


_import()
