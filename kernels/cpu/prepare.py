"""Compile ahead, on all cores, what a first run would otherwise compile kernel after kernel.

Numba compiles on one core at a time, so other processes take their share and leave it in the cache on disk.
`python -m gpucnn_kernels.cpu.prepare MODULE:KERNEL ...` is such a process.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module

from .compiled import called_by, log


def prepare(run: Callable[[], object]) -> None:
    """Compile the kernels that `run` calls, as far as they are not in the cache, with a process for each core.

    `run` is called with those kernels doing nothing: its results mean nothing, and its effects should be none. Where a
    process fails, its kernels are compiled when they are called.
    """
    missing = [kernel for kernel in called_by(run) if not kernel.kept()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [missing[i::cores] for i in range(min(cores, len(missing)))]
    if len(shares) < 2:
        return
    log.info("compiling %d kernels", len(missing))
    command = [sys.executable, "-m", "gpucnn_kernels.cpu.prepare"]
    processes = [subprocess.Popen([*command, *map(str, share)], stderr=subprocess.DEVNULL) for share in shares]
    for process in processes:
        process.wait()


if __name__ == "__main__":
    for text in sys.argv[1:]:
        module, _, name = text.partition(":")
        getattr(import_module(module), name).compile()
