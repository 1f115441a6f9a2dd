"""Compile ahead, on all cores, what a first run would otherwise compile kernel after kernel.

Numba compiles on one core at a time, so other processes take kernels, one at a time, and leave them in the cache on
disk. `python -m gpucnn_kernels.cpu.prepare` is such a process: it reads MODULE:KERNEL, and answers with it when done.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from threading import Thread

from ..cachefolder import cache_folder, writable
from .compiled import called_by, log


def prepare(run: Callable[[], object]) -> None:
    """Compile the kernels that `run` calls, as far as they are not in the cache, with a process for each core.

    `run` is called with those kernels doing nothing: its results mean nothing, and its effects should be none. Where a
    process fails, its kernels are compiled when they are called.
    """
    missing = [str(kernel) for kernel in called_by(run) if not kernel.kept()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if min(cores, len(missing)) < 2:
        return
    log.info("compiling %d kernels", len(missing))
    threads = [Thread(target=_hand_out, args=(missing,)) for _ in range(min(cores, len(missing)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _hand_out(missing: list[str]) -> None:
    """Give kernels of the list to a process of its own, until none is left or the process ends."""
    command = [sys.executable, "-m", "gpucnn_kernels.cpu.prepare"]
    pipe = subprocess.PIPE
    environment = os.environ | {"XDG_CACHE_HOME": str(writable(cache_folder()).parents[1])}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdin and process.stdout
        while missing:
            try:
                print(missing.pop(), file=process.stdin, flush=True)
            except (IndexError, BrokenPipeError):
                break
            if not process.stdout.readline():
                break
        process.stdin.close()


if __name__ == "__main__":
    for line in sys.stdin:
        module, _, name = line.strip().partition(":")
        getattr(import_module(module), name).compile()
        print(line, end="", flush=True)
