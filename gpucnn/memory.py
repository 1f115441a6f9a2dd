"""Whether a step fits into memory, and the largest batch that does: measured on two small ones."""

import os
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .backend import Device
from .data.batches import Batches
from .errors import DeviceError
from .module import Module
from .training import rehearse

_FIRST, *_SMALL = 16, 32, 64  # images: some kernels of the CPU take 16 at once
_MUCH = 1000  # times the bytes of its pictures: what no step of a network for small pictures takes


@contextmanager
def enough_memory(model: Module, train: Batches) -> Iterator[None]:
    """Inside, to run out of memory is a DeviceError that says how large a batch may be."""
    try:
        yield
    except MemoryError:
        need = Need(model, train)
        raise _too_large(train, need, available(train.device), "ran out of memory") from None


def require_memory(model: Module, train: Batches) -> None:
    """The same error before a step is tried, where it would take more than there is.

    A system that gives out more memory than it has ends the process later, without a word. Small batches are let
    through without a measurement.
    """
    free = available(train.device)
    pictures = _batch(train) * train.x[0].size * train.mean.dtype.itemsize
    if free is not None and pictures * _MUCH > free:
        need = Need(model, train)
        if need(_batch(train)) > free:
            raise _too_large(train, need, free, "does not fit into memory")


class Need:
    """`need(n)`: the bytes that forward and backward passes of n images take at most, beside what is taken already."""

    def __init__(self, model: Module, train: Batches) -> None:
        few, more = (min(n, train.examples) for n in _SMALL)
        rehearse(model, train, _FIRST)  # what is loaded once; of other sizes, nothing is left in a pool
        taken = [_peak(model, train, n) for n in (few, more)]
        self._each = max(taken[1] - taken[0], 1) / max(more - few, 1)
        self._fixed = max(taken[0] - few * self._each, 0)

    def __call__(self, n: int) -> int:
        return int(self._fixed + n * self._each)

    def most(self, free: int) -> int:
        """The largest n for which there is room, as a whole number of eights; at least 1."""
        n = int((free - self._fixed) / self._each)
        return max(n - n % 8 if n >= 8 else n, 1)


def available(device: Device) -> int | None:
    """Bytes that arrays on the device can still take; None where nothing tells."""
    if device.type == "cuda":
        pool = device.xp.get_default_memory_pool()
        return device.xp.cuda.Device(device.index).mem_info[0] + pool.free_bytes()
    limits = [_of_the_machine(), _of_the_group(), _of_the_process()]
    return min((limit for limit in limits if limit is not None), default=None)


def _of_the_machine() -> int | None:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return None


def _of_the_group() -> int | None:
    """What a container may take."""
    folder = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no such group, or no limit: "max"
        most = int((folder / "memory.max").read_text())
        files = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return most - int((folder / "memory.current").read_text()) + int(files.get("inactive_file", 0))
    return None


def _of_the_process() -> int | None:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return None
    with suppress(OSError):
        return most - int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return most


def _batch(train: Batches) -> int:
    return min(train.batch_size, len(train.x))


def _peak(model: Module, train: Batches, n: int) -> int:
    """Bytes that the passes of n images take at their peak."""
    if train.device.type == "cuda":
        pool = train.device.xp.get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.total_bytes()
        rehearse(model, train, n)
        return pool.total_bytes() - before
    tracemalloc.start()
    try:
        rehearse(model, train, n)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _too_large(train: Batches, need: Need, free: int | None, what: str) -> DeviceError:
    n = _batch(train)
    message = f"a step with batches of {n} {what}: it takes about {need(n) / 1e9:.2f} GB"
    if free is not None:
        message += f", and {free / 1e9:.2f} GB are free"
    fits = n if free is None else need.most(free)
    return DeviceError(message, f"use smaller batches: --batch-size {max(min(fits, n // 2), 1)}")
