from .narrow import TRIAL, AscentTrainable
from .train_group import TrainGroup, reported_failures
from .wide import WideTrainable

__all__ = ["TRIAL", "AscentTrainable", "TrainGroup", "WideTrainable", "reported_failures"]
