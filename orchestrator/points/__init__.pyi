from .best import best_point, parse_conditions
from .evaluated_steps import EvaluatedStep, Row, find_point, find_trial, shown

__all__ = ["EvaluatedStep", "Row", "best_point", "find_point", "find_trial", "parse_conditions", "shown"]
