"""What the named ranges of gpucnn/profiling.py cost a LeNet step on the CPU: unheard, and with a clock around each.

Times are those of one thread on a CPU, so that what else the machine does is not in them.

python bench/ranges.py     writes results/ranges.json
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cpu_subjects
from cpu_measure import pictures
from machine import describe

from gpucnn.cpu import set_threads
from gpucnn.measure.timers import timed
from gpucnn.profiling import Listener, annotate, listening

BATCH, ROUNDS, STEPS, RANGES = 128, 21, 10, 20_000


class Counter(Listener):
    """Counts who asks: ranges and layers."""

    count = 0

    def range(self, name: str, kernel: str = "") -> Any:
        self.count += 1
        return super().range(name, kernel)

    def layer(self, module: Any) -> Any:
        self.count += 1
        return super().layer(module)


def seconds(run: Callable[[], Any], times: int) -> float:
    """Of one of `times` calls."""
    started = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - started) / times


def nothing() -> None:
    with annotate("step"):
        pass


def empty() -> None:
    pass


def main() -> None:
    subject = cpu_subjects.Ours("lenet", graph=False)
    set_threads(1, subject.device)
    x, y = subject.batch(*pictures(BATCH))
    subject.mode(True)

    def step() -> None:
        subject.step(x, y)

    def timed_step() -> None:
        with timed(subject.device), annotate("step"):
            subject.step(x, y)

    with listening(counter := Counter()):
        step()
    step(), timed_step()
    rounds = [
        (seconds(nothing, RANGES) - seconds(empty, RANGES), seconds(step, STEPS), seconds(timed_step, STEPS))
        for _ in range(ROUNDS)
    ]
    record = {
        "step": f"lenet, batch {BATCH}, every kernel started by Python",
        "ranges": counter.count,
        "ns_unheard": _spread([1e9 * each for each, _, _ in rounds]),
        "step_us": _spread([1e6 * plain for _, plain, _ in rounds]),
        "unheard": _spread([counter.count * each / plain for each, plain, _ in rounds]),
        "timed": _spread([heard / plain - 1 for _, plain, heard in rounds]),
        "machine": describe(),
    }
    path = Path(__file__).parent / "results" / "ranges.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def _spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {name: float(f"{value:.3g}") for name, value in (("median", middle), ("low", low), ("high", high))}


if __name__ == "__main__":
    main()
