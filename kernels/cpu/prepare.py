"""Compile ahead, on all cores: kernels that a first run would otherwise compile one after another.

Numba compiles on one core at a time, so other processes take their share and leave it in the cache on disk.
`python -m gpucnn_kernels.cpu.prepare MODULE:KERNEL ...` is such a process.
"""

import os
import subprocess
import sys
from importlib import import_module

from .compiled import KERNELS, Compiled


def prepare() -> int:
    """Compile, with as many processes as there are cores, what is not in the cache of all kernels imported so far.

    Returns how many there were. A process that fails is no fault: its kernels are compiled when they are called.
    """
    missing = [kernel for kernel in KERNELS if not kernel.kept()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [missing[i::cores] for i in range(min(cores, len(missing)))]
    if len(shares) > 1:
        processes = [
            subprocess.Popen([sys.executable, "-m", __name__, *map(str, share)], stderr=subprocess.DEVNULL)
            for share in shares
        ]
        for process in processes:
            process.wait()
    return len(missing)


def _named(text: str) -> Compiled:
    module, _, name = text.partition(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    for text in sys.argv[1:]:
        _named(text).compile()
