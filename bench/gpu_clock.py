"""Time on a GPU, and many calls as one CUDA graph; on the simulator the same with the clock of the CPU.

CuPy's events time PyTorch, too: both queue their work, and launch their graphs, in the legacy default stream.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

from gpucnn_kernels.capture import Capture

Call = Callable[[], Any]


class Replay(NamedTuple):
    """`run` makes `calls` calls. captured: as one graph. kept: what must live as long."""

    run: Call
    calls: int
    captured: bool = False
    kept: Any = None


class Cpu:
    """The simulator's: everything is done when its call returns, and nothing is captured."""

    l2 = 0

    def synchronize(self) -> None:
        pass

    def ours(self, calls: Sequence[Call]) -> Replay:
        return Replay(lambda: [call() for call in calls], len(calls))

    theirs = ours

    def times(self, replay: Replay, repeats: int) -> list[float]:
        """Seconds of each of `repeats` runs."""
        return [self.timed(replay.run, 1)[0] for _ in range(repeats)]

    def timed(self, run: Call, calls: int) -> tuple[float, float | None]:
        """Seconds by the wall's clock and by the GPU's, of `calls` calls one after another."""
        started = time.perf_counter()
        for _ in range(calls):
            run()
        return time.perf_counter() - started, None


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

    def theirs(self, calls: Sequence[Call]) -> Replay:
        """The same with calls of PyTorch."""
        import torch

        with torch.cuda.stream(torch.cuda.Stream()):
            for call in calls:
                call()
        self.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = [call() for call in calls]
        return Replay(graph.replay, len(calls), True, results)

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


def middle(seconds: Sequence[float], calls: int = 1) -> dict[str, float]:
    """Microseconds a call: median, least and most of the runs."""
    each = {"us": statistics.median(seconds), "us_min": min(seconds), "us_max": max(seconds)}
    return {name: round(1e6 * value / calls, 3) for name, value in each.items()}


def sets(clock: Cpu, size: int, least: int = 1, most: int = 256) -> int:
    """How many sets of arrays of `size` bytes the calls must take turns with to find none of them in the L2 cache."""
    return min(max(ceil(2 * clock.l2 / size), least), most)
