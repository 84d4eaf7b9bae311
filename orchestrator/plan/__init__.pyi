from .estimates import Plan, fits_here, plan_sweep
from .overheads import measure_overheads
from .set_summaries import typical_lengths
from .step_times import time_steps

__all__ = ["Plan", "fits_here", "measure_overheads", "plan_sweep", "time_steps", "typical_lengths"]
