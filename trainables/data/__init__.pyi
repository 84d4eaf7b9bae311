from .canaries import CANARIES, check_canary
from .examples import Example, StoredExamples, identity, shortened, text_key
from .forget_sets import Datasets, ForgetSet, build_datasets
from .sizes import SetSizes, Sizes, hub_datasets_to_count, require_retained, sizes_of, training_examples

__all__ = [
    "CANARIES",
    "Datasets",
    "Example",
    "ForgetSet",
    "SetSizes",
    "Sizes",
    "StoredExamples",
    "build_datasets",
    "check_canary",
    "hub_datasets_to_count",
    "identity",
    "require_retained",
    "shortened",
    "sizes_of",
    "text_key",
    "training_examples",
]
