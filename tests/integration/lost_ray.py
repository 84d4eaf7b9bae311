"""Open a session, kill one of Ray's own processes by name, and wait: for the loss to be told, or for the end."""

import sys
import threading

import psutil

from orchestrator.resources import local_ray, ray_session
from orchestrator.spec import ResourcesConfig


def main(name: str, *, hangs: bool) -> None:
    local_ray.LOSS_GRACE_S = 1.0 if hangs else 300.0
    told = threading.Event()
    reasons = []

    def on_loss(error: Exception) -> None:
        reasons.append(error)
        told.set()

    with ray_session(ResourcesConfig(), workers=1, on_loss=on_loss, last_words="resume it"):
        for process in psutil.Process().children():
            if process.name() == name:
                process.kill()
        told.wait()
        if hangs:
            threading.Event().wait()  # as Ray does
        raise reasons[0]


if __name__ == "__main__":
    main(sys.argv[1], hangs=sys.argv[2] == "hangs")
