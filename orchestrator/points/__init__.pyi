from .best import best_step, parse_conditions
from .chosen import chosen_points, curve_points, names_of_points
from .evaluated_steps import EvaluatedStep, Row, find_step, find_trial, metric_text
from .replay import (
    Replay,
    StartingPoint,
    StepEvaluator,
    models_of,
    prepare_replay,
    prepare_start,
    read_inputs,
    rebuild_model,
    replay_with,
)

__all__ = [
    "EvaluatedStep",
    "Replay",
    "Row",
    "StartingPoint",
    "StepEvaluator",
    "best_step",
    "chosen_points",
    "curve_points",
    "find_step",
    "find_trial",
    "metric_text",
    "models_of",
    "names_of_points",
    "parse_conditions",
    "prepare_replay",
    "prepare_start",
    "read_inputs",
    "rebuild_model",
    "replay_with",
]
