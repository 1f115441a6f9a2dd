"""What a run or a figure was made with."""

import os
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..backend import Device


def environment(device: Device) -> dict[str, Any]:
    """When, on which machine, by which versions."""
    return {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "device": str(device),
        "kernels": device.implementation,
        "packages": {name: found for name in ("gpucnn", "numpy", "numba", "scipy") if (found := _version(name))},
    }


def cpu_name() -> str:
    """The model of the CPU, and how many cores of it there are for this process."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{model}, {cores()} cores"


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
