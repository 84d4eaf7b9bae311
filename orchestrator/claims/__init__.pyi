from . import wording
from .computing import Claims, claims_of
from .deciding import Decision
from .intervals import LEAST_REPLICATES
from .pooling import replicates_in

__all__ = ["LEAST_REPLICATES", "Claims", "Decision", "claims_of", "replicates_in", "wording"]
