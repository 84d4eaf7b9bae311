from .leader_checkpoints import LeaderCheckpoints
from .parallel import build_accelerator, full_tensor, sharded_like, share_model, unwrap_model
from .worker_group import ALONE, WorkerGroup, current_worker_group

__all__ = [
    "ALONE",
    "LeaderCheckpoints",
    "WorkerGroup",
    "build_accelerator",
    "current_worker_group",
    "full_tensor",
    "sharded_like",
    "share_model",
    "unwrap_model",
]
