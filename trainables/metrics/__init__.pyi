from .chosen import DEFAULT_METRICS, ChosenMetric, chosen_metrics
from .difficulty import thirds
from .evaluation import NonFiniteEvaluationError, evaluate
from .evaluation_sets import FIELDS_OF_TOKENS, FIELDS_OF_TRIALS, EvaluationSets, score_named
from .generation import GenerationTask, bleu_and_chrf
from .likelihood import (
    Predictions,
    TokenScores,
    kl_divergence,
    predict,
    score_batch,
    score_drawn,
    soft_nll,
    token_scores,
)
from .metric import Column, Metric, MetricSettings
from .reductions import Reduction, StepCounts, example_mean, step_mean
from .registry import METRICS, compute, register
from .scores import Array, ModelScores, Scores, SetScores
from .scoring import ScoredOnce, score_set
from .shipped.catalog import SHIPPED
from .shipped.settings import AttackSettings, ExposureTailSettings, GenerationSettings, SampledLeakageSettings
from .untrained import EXPECTED_RELATIVE_EXPOSURE_BITS

__all__ = [
    "DEFAULT_METRICS",
    "EXPECTED_RELATIVE_EXPOSURE_BITS",
    "FIELDS_OF_TOKENS",
    "FIELDS_OF_TRIALS",
    "METRICS",
    "SHIPPED",
    "Array",
    "AttackSettings",
    "ChosenMetric",
    "Column",
    "EvaluationSets",
    "ExposureTailSettings",
    "GenerationSettings",
    "GenerationTask",
    "Metric",
    "MetricSettings",
    "ModelScores",
    "NonFiniteEvaluationError",
    "Predictions",
    "Reduction",
    "SampledLeakageSettings",
    "ScoredOnce",
    "Scores",
    "SetScores",
    "StepCounts",
    "TokenScores",
    "bleu_and_chrf",
    "chosen_metrics",
    "compute",
    "evaluate",
    "example_mean",
    "kl_divergence",
    "predict",
    "register",
    "score_batch",
    "score_drawn",
    "score_named",
    "score_set",
    "soft_nll",
    "step_mean",
    "thirds",
    "token_scores",
]
