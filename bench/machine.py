"""What a figure was measured on."""

import platform
import subprocess
from contextlib import suppress
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import gpucnn
from gpucnn.cli.environment import cpu_name

ROOT = Path(__file__).parents[1]


def describe() -> dict[str, Any]:
    """CPU, versions, BLAS, commit and day."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[call-overload, index]
    return {
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        "gpucnn": gpucnn.__version__,
        "commit": commit(),
        "day": date.today().isoformat(),
    }


def commit() -> str:
    """The commit of the code that runs; "-dirty" behind it where something but results was changed since."""
    found = _git("describe", "--always")
    return found + "-dirty" * bool(_git("status", "--porcelain", "-uno", "--", ".", ":!bench/results"))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], check=False, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def describe_gpu() -> dict[str, str]:
    """The GPU, its driver, and the versions of what compiles kernels for it."""
    import cupy

    driver = cupy.cuda.runtime.driverGetVersion()
    found = {
        "gpu": cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode(),
        "driver": f"CUDA {driver // 1000}.{driver % 1000 // 10}",
        "cupy": cupy.__version__,
        "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
    }
    if number := smi("driver_version").get("driver_version"):
        found["driver"] += f", {number}"
    with suppress(PackageNotFoundError):
        found["numba-cuda"] = version("numba-cuda")
    return found


def smi(*fields: str) -> dict[str, str]:
    """What nvidia-smi says of the first GPU; a field that it does not know, or all where there is none, is left out."""
    found = {}
    for field in fields:
        with suppress(OSError):
            query = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
            done = subprocess.run(query, check=False, capture_output=True, text=True)
            if not done.returncode and done.stdout:
                found[field] = done.stdout.splitlines()[0].strip()
    return found
