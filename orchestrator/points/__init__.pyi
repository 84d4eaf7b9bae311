from .best import best_step, parse_conditions
from .evaluated_steps import EvaluatedStep, Row, find_step, find_trial, metric_text
from .replay import Replay, StepEvaluator, prepare_replay, rebuild_model

__all__ = [
    "EvaluatedStep",
    "Replay",
    "Row",
    "StepEvaluator",
    "best_step",
    "find_step",
    "find_trial",
    "metric_text",
    "parse_conditions",
    "prepare_replay",
    "rebuild_model",
]
