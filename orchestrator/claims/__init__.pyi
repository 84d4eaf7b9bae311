from . import wording
from .computing import Claims, claims_of

__all__ = ["Claims", "claims_of", "wording"]
