from .computing import compute
from .inputs import ObjectiveInputs
from .objective import Objective
from .registry import OBJECTIVES, check_objective, register
from .settings import KLRetainSettings, ObjectiveSettings, RetainSettings, TaskVectorSettings

__all__ = [
    "OBJECTIVES",
    "KLRetainSettings",
    "Objective",
    "ObjectiveInputs",
    "ObjectiveSettings",
    "RetainSettings",
    "TaskVectorSettings",
    "check_objective",
    "compute",
    "register",
]
