from .checks import check_cluster
from .cluster_file import SHIPPED, dump_cluster, load_cluster, render_cluster, up_command
from .jobs import DEFAULT_ADDRESS, Job, Jobs
from .submission import environment_of, require_reachable, submit_resume, submit_sweep

__all__ = [
    "DEFAULT_ADDRESS",
    "SHIPPED",
    "Job",
    "Jobs",
    "check_cluster",
    "dump_cluster",
    "environment_of",
    "load_cluster",
    "render_cluster",
    "require_reachable",
    "submit_resume",
    "submit_sweep",
    "up_command",
]
