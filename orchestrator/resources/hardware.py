"""Descriptions of the machines that a sweep runs on: processor, memory, GPUs."""

import os
import platform
import socket
from pathlib import Path
from typing import Any

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")
"""Device files that the drivers of NVIDIA and AMD make."""


def describe_machine() -> dict[str, Any]:
    """Return a description of this machine. Memory is in bytes."""
    gpus = []
    if any(Path(device).exists() for device in _GPU_DEVICES):
        import torch  # noqa: PLC0415  # heavy, and without GPUs not needed

        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            gpus.append({"name": device.name, "memory": device.total_memory})
    return {
        "host": socket.gethostname(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus,
    }


def _cpu_model() -> str:
    """Return the processor's name: from a file of Linux, elsewhere as Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
