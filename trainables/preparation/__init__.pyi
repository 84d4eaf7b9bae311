from .baselines import encode_all, evaluation_sets, form_of, prepare_tokenizer, writing_task
from .checks import Subject, problems_of
from .problems import Grade, Problem
from .scored_sets import encode_retained, encode_scored, tokens_hash, with_alternates
from .size_checks import Counted, size_problems_of
from .training import Training, train_to_end
from .training_state import TOLD_EVERY_S, TrainingState

__all__ = [
    "TOLD_EVERY_S",
    "Counted",
    "Grade",
    "Problem",
    "Subject",
    "Training",
    "TrainingState",
    "encode_all",
    "encode_retained",
    "encode_scored",
    "evaluation_sets",
    "form_of",
    "prepare_tokenizer",
    "problems_of",
    "size_problems_of",
    "tokens_hash",
    "train_to_end",
    "with_alternates",
    "writing_task",
]
