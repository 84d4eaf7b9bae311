from .evaluation import EvaluationSets, NonFiniteEvaluationError, evaluate
from .exposure import Array
from .generation import GenerationTask, bleu_and_chrf
from .likelihood import (
    Predictions,
    StepCounts,
    TokenScores,
    example_mean,
    kl_divergence,
    predict,
    score_batch,
    score_drawn,
    score_set,
    soft_nll,
    step_mean,
    token_scores,
)
from .reductions import Reduction
from .untrained import EXPECTED_RELATIVE_EXPOSURE_BITS

__all__ = [
    "EXPECTED_RELATIVE_EXPOSURE_BITS",
    "Array",
    "EvaluationSets",
    "GenerationTask",
    "NonFiniteEvaluationError",
    "Predictions",
    "Reduction",
    "StepCounts",
    "TokenScores",
    "bleu_and_chrf",
    "evaluate",
    "example_mean",
    "kl_divergence",
    "predict",
    "score_batch",
    "score_drawn",
    "score_set",
    "soft_nll",
    "step_mean",
    "token_scores",
]
