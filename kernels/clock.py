"""How long kernels take: on a GPU by its events around a CUDA graph of many calls, on a CPU by its clock.

Every call finds the caches cold, as in a step of a large network: on a GPU the calls of a graph take turns with sets
of arrays that together are twice as large as the L2 cache, on a CPU its caches are filled with something else before.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .capture import Capture

Call = Callable[[], Any]
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_LAST_LEVEL = 64 << 20  # bytes, where the system does not say


class Replay(NamedTuple):
    """`run` makes `calls` calls. captured: as one graph. kept: what must live as long."""

    run: Call
    calls: int
    captured: bool = False
    kept: Any = None


class Cpu:
    """The simulator's: everything is done when its call returns, nothing is captured, and caches are what they are."""

    l2 = 0

    def synchronize(self) -> None:
        pass

    def cool(self) -> None:
        """Put something else into the caches."""

    def ours(self, calls: Sequence[Call]) -> Replay:
        return Replay(lambda: [call() for call in calls], len(calls))

    def times(self, replay: Replay, repeats: int) -> list[float]:
        """Seconds of each of `repeats` runs."""
        found = []
        for _ in range(repeats):
            self.cool()
            found.append(self.timed(replay.run, 1)[0])
        return found

    def issued(self, run: Call, calls: int) -> float:
        """Seconds until `calls` calls have returned, whatever a GPU still has to do."""
        self.synchronize()
        started = time.perf_counter()
        for _ in range(calls):
            run()
        seconds = time.perf_counter() - started
        self.synchronize()
        return seconds

    def timed(self, run: Call, calls: int) -> tuple[float, float | None]:
        """Seconds by the wall's clock and by the GPU's, of `calls` calls one after another."""
        started = time.perf_counter()
        for _ in range(calls):
            run()
        return time.perf_counter() - started, None


class Host(Cpu):
    """The CPU's own kernels."""

    def __init__(self) -> None:
        cores = os.cpu_count() or 1
        self._parts = np.array_split(np.zeros(2 * last_level_cache(), np.uint8), cores)
        self._threads = ThreadPoolExecutor(cores)  # each core has caches of its own

    def cool(self) -> None:
        list(self._threads.map(lambda part: np.add(part, 1, out=part), self._parts))


class Gpu(Cpu):
    """The current GPU of CuPy."""

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.l2 = cupy.cuda.Device().attributes["L2CacheSize"]

    def synchronize(self) -> None:
        self.cupy.cuda.runtime.deviceSynchronize()

    def ours(self, calls: Sequence[Call]) -> Replay:
        """`calls` as one graph, after they ran once; the result of each has its own memory. RuntimeError: refused."""
        capture = Capture(lambda: [call() for call in calls])
        if capture.fault:
            raise RuntimeError(f"no graph: {capture.fault}")
        return Replay(capture, len(calls), True, capture)

    def times(self, replay: Replay, repeats: int) -> list[float]:
        return [self.timed(replay.run, 1)[1] for _ in range(repeats)]

    def timed(self, run: Call, calls: int) -> tuple[float, float]:
        first, last = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        self.synchronize()
        started = time.perf_counter()
        first.record(self.cupy.cuda.Stream.null)
        for _ in range(calls):
            run()
        last.record(self.cupy.cuda.Stream.null)
        self.synchronize()
        return time.perf_counter() - started, 1e-3 * self.cupy.cuda.get_elapsed_time(first, last)


def last_level_cache() -> int:
    """Bytes of the largest cache of this CPU."""
    sizes = [_LAST_LEVEL >> 10]
    with suppress(OSError, ValueError):
        sizes = [int(file.read_text().strip().removesuffix("K")) for file in _CACHES.glob("index*/size")] or sizes
    return max(sizes) << 10


def middle(seconds: Sequence[float], calls: int = 1) -> dict[str, float]:
    """Microseconds a call: median, least and most of the runs."""
    each = {"us": statistics.median(seconds), "us_min": min(seconds), "us_max": max(seconds)}
    return {name: round(1e6 * value / calls, 3) for name, value in each.items()}


def sets(clock: Cpu, size: int, least: int = 1, most: int = 256) -> int:
    """How many sets of arrays of `size` bytes the calls must take turns with to find none of them in the L2 cache."""
    return min(max(ceil(2 * clock.l2 / size), least), most)
