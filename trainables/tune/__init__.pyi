from .narrow import TRIAL, AscentTrainable
from .wide import wide_trainable

__all__ = ["TRIAL", "AscentTrainable", "wide_trainable"]
