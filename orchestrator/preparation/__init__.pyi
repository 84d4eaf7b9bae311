from . import provenance
from .checking.input_checks import check_inputs, check_spec, read_and_check
from .checking.memorization import Memorized, memorized_by_base, require_something_to_unlearn
from .checking.problems import CheckedInputs, require_no_problem
from .checking.size_checks import check_sizes, count_sets
from .code_fingerprint import source_hash
from .dispatch import remote_on_a_share, start_building, train_missing
from .inputs import SweepInputs, manifest_of
from .model_cache import ModelCache
from .model_identity import datasets_of, model_of
from .model_training import train_model
from .provenance import code_state
from .tasks import BASE, Baseline, Measured, ModelTask, are_small, trains_in_groups
from .workloads import build_workload

__all__ = [
    "BASE",
    "Baseline",
    "CheckedInputs",
    "Measured",
    "Memorized",
    "ModelCache",
    "ModelTask",
    "SweepInputs",
    "are_small",
    "build_workload",
    "check_inputs",
    "check_sizes",
    "check_spec",
    "code_state",
    "count_sets",
    "datasets_of",
    "manifest_of",
    "memorized_by_base",
    "model_of",
    "provenance",
    "read_and_check",
    "remote_on_a_share",
    "require_no_problem",
    "require_something_to_unlearn",
    "source_hash",
    "start_building",
    "train_missing",
    "train_model",
    "trains_in_groups",
]
