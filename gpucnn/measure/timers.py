"""A clock around every range: who listens with it sees where a step's time goes, as long as Python makes the step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gpucnn_kernels.recording import watched

from ..backend import Device
from ..errors import GpucnnError
from ..profiling import Listener, listening
from .slices import STEP, Profile, Slice


class CpuClock:
    """The time of day, for work that is done when its call returns.

    waits: whether the device does nothing while Python prepares a kernel. The CPU does that work itself.
    """

    stream, waits = "CPU", False

    def mark(self) -> Any:
        return time.perf_counter_ns()

    def us(self, first: Any, mark: Any) -> float:
        """Microseconds between two marks, once `wait` was called."""
        return 1e-3 * (mark - first)

    def wait(self) -> None:
        """Until all marks are made."""


class GpuClock(CpuClock):
    """CUDA events in the current stream: the GPU makes the marks when it comes to them. They lengthen the gaps."""

    waits = True

    def __init__(self, device: Device) -> None:
        self.device, self.stream = device, f"{device} stream"

    def mark(self) -> Any:
        event = self.device.xp.cuda.Event()
        event.record()
        return event

    def us(self, first: Any, mark: Any) -> float:
        return 1e3 * self.device.xp.cuda.get_elapsed_time(first, mark)

    def wait(self) -> None:
        self.device.synchronize()


@dataclass(slots=True)
class _Range:
    """free: since when nothing inside it has run."""

    name: str
    kernel: str
    begin: Any
    depth: int
    free: Any
    end: Any = None


class Timers(Listener):
    """Times all ranges inside of steps; on a GPU each kernel that is launched in them, too.

    A range with none inside is a kernel's: work that no kernel of ours does, like CuPy's, is its range's as a whole.
    On the CPU, what Python does for a kernel, from the beginning of the range around it, is counted with it.
    """

    def __init__(self, clock: CpuClock) -> None:
        super().__init__()
        self.clock = clock
        self._open: list[_Range] = []
        self._done: list[_Range] = []  # in the order of their ends, so that what lies inside comes first

    def push(self, name: str, kernel: str) -> None:
        parts = not self.clock.waits and self._in_step() and self._open[-1].name != STEP
        begin = self._open[-1].free if parts else self.clock.mark()
        self._open.append(_Range(name, kernel, begin, len(self._open), begin))

    def pop(self) -> None:
        ended = self._open.pop()
        ended.end = self.clock.mark()
        if self._open:
            self._open[-1].free = ended.end
        if ended.name == STEP or self._in_step():
            self._done.append(ended)

    def _in_step(self) -> bool:
        return any(each.name == STEP for each in self._open)

    def launch(self, kernel: Any, arguments: Any) -> bool:
        """Make a launch of a kernel on a GPU, within a range that belongs to the one around it: see recording.py."""
        with self.range(self._ranges[-1] if self._ranges else kernel.__name__, kernel.__name__):
            kernel(*arguments)
        return True

    def profile(self) -> Profile:
        """What was seen; GpucnnError where that was no whole step."""
        self.clock.wait()
        first = next((each.begin for each in self._done if each.name == STEP), None)
        slices: list[Slice] = []
        inside = 0  # how deep the range was that ended before
        for each in self._done:
            leaf, inside = each.depth >= inside, each.depth
            start, end = self.clock.us(first, each.begin), self.clock.us(first, each.end)
            kernel = (each.kernel or each.name) if leaf and each.name != STEP else ""
            slices.append(Slice(each.name, kernel, start, end - start, self.clock.stream))
        steps = [each.us for each in slices if each.name == STEP]
        if not steps:
            raise GpucnnError("no training step was seen", "profile at least one: --steps 1")
        return Profile(slices, len(steps), sum(steps) / len(steps))


@contextmanager
def timed(device: Device) -> Iterator[Timers]:
    """Inside, what runs on `device` is timed; steps are made by Python there, whether they were recorded or not."""
    if device.type == "cuda":
        timers = Timers(GpuClock(device))
        with listening(timers), watched(timers.launch):
            yield timers
    else:
        with listening(timers := Timers(CpuClock())):
            yield timers
