from .answers import encode_answers
from .buckets import bucket_members
from .encoded_inputs import encode_retained, encode_scored, tokens_hash, with_alternates
from .evaluation_data import (
    encode_all,
    evaluation_sets,
    form_of,
    generation_task,
    prepare_tokenizer,
    scored_examples,
    selection,
)
from .input_checks import CheckInputs, find_problems, find_reference_problems
from .metric_checks import find_metric_problems
from .problems import Problem, Severity
from .size_checks import SizeCheckInputs, find_size_problems
from .training import Training, train_to_end
from .training_state import REPORTED_EVERY_S, TrainingState

__all__ = [
    "REPORTED_EVERY_S",
    "CheckInputs",
    "Problem",
    "Severity",
    "SizeCheckInputs",
    "Training",
    "TrainingState",
    "bucket_members",
    "encode_all",
    "encode_answers",
    "encode_retained",
    "encode_scored",
    "evaluation_sets",
    "find_metric_problems",
    "find_problems",
    "find_reference_problems",
    "find_size_problems",
    "form_of",
    "generation_task",
    "prepare_tokenizer",
    "scored_examples",
    "selection",
    "tokens_hash",
    "train_to_end",
    "with_alternates",
]
