from .narrow import AscentTrainable
from .results import EVALUATION, FAILURE, OUTCOME, STORAGE_ERROR, TRIAL, WARNING
from .wide import wide_trainable

__all__ = ["EVALUATION", "FAILURE", "OUTCOME", "STORAGE_ERROR", "TRIAL", "WARNING", "AscentTrainable", "wide_trainable"]
