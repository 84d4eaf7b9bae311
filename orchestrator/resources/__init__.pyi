from .hardware import describe_machine
from .inline_tasks import explained
from .session_folder import named_folders, obstacle_of, parent_folder
from .sessions import (
    capacity,
    fetch,
    first_done,
    offered_gpus,
    on_every_node,
    ray_session,
    starts_here,
    workers_hardware,
)
from .shared_storage import require_shared
from .sharing import Sharing, measure, share_devices

__all__ = [
    "Sharing",
    "capacity",
    "describe_machine",
    "explained",
    "fetch",
    "first_done",
    "measure",
    "named_folders",
    "obstacle_of",
    "offered_gpus",
    "on_every_node",
    "parent_folder",
    "ray_session",
    "require_shared",
    "share_devices",
    "starts_here",
    "workers_hardware",
]
