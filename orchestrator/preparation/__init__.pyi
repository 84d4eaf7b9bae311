from . import provenance
from .code_fingerprint import source_hash
from .dispatch import start_building, train_missing
from .inputs import SweepInputs
from .memorization import Memorized, memorized, require_something_to_unlearn
from .model_cache import ModelCache
from .provenance import code_state
from .readiness import examine, look_at, require_ready
from .set_sizes import count_sets, look_at_sizes
from .tasks import Baseline, ModelTask
from .verdict import Examined, require_sound
from .work import build_workload, datasets_of, train_model

__all__ = [
    "Baseline",
    "Examined",
    "Memorized",
    "ModelCache",
    "ModelTask",
    "SweepInputs",
    "build_workload",
    "code_state",
    "count_sets",
    "datasets_of",
    "examine",
    "look_at",
    "look_at_sizes",
    "memorized",
    "provenance",
    "require_ready",
    "require_something_to_unlearn",
    "require_sound",
    "source_hash",
    "start_building",
    "train_missing",
    "train_model",
]
