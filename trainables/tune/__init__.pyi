from .narrow import TRIAL, AscentTrainable
from .wide import WideTrainable

__all__ = ["TRIAL", "AscentTrainable", "WideTrainable"]
