"""Where a sweep keeps each of its files: names of files and folders, relative to the sweep's folder."""

SPEC, MANIFEST = "spec.yaml", "sweep.json"
BASELINES_FILE, FORGET_EXAMPLES_FILE = "references/baselines.parquet", "references/forget_sets.parquet"
PREPARATION = "preparation"
"""Name of the log of errors in preparing base and reference models, beside the logs of trials."""
PROBING = "probing"
"""Name of the log of probes that failed, beside the logs of trials."""
DECISIONS = "halving"
"""The folder of what was decided of settings at rungs."""
PROFILES = "profiles"
"""The folder of what a profiler has recorded of trials."""
FOLDERS = (
    "trials", "evaluations", "examples", "checkpoints", "references", "merged", "optuna", "report", "logs", DECISIONS,
    "quarantine", "probes", PROFILES,
)  # fmt: skip
"""The folders that a sweep writes into, beside ``drivers``."""


def trial_file(table: str, trial_id: str) -> str:
    """Return the path of the file that holds a trial's rows of a table."""
    return f"{table}/{trial_id}.parquet"


def probe_file(model: str, probe: str) -> str:
    """Return the path of the file of what a probe found on a model: see ``ProbeRecord``."""
    return f"probes/{model}-{probe}.parquet"


def checkpoint_file(trial_id: str) -> str:
    """Return the path of a trial's checkpoint."""
    return f"checkpoints/{trial_id}.safetensors"


def trace_file(trial_id: str) -> str:
    """Return the path of the trace that a profiler has recorded of a trial."""
    return f"{PROFILES}/{trial_id}.json.gz"


def log_file(name: str) -> str:
    """Return the path of the log of a trial, or of the ``PREPARATION``."""
    return f"logs/{name}.txt"
