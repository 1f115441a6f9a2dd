"""Stretches of time, and the rows that they add up to: which layer and which kernel costs what."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..costs import Cost
from ..roofs import Roofs

STEP = "step"


@dataclass(frozen=True)
class Slice:
    """A kernel that ran, or, without one, a range around others; times in microseconds.

    name: the range that the kernel ran for, like "features.0.forward". stream: what it ran on, one thing at a time.
    """

    name: str
    kernel: str
    start: float
    us: float
    stream: str

    @property
    def end(self) -> float:
        return self.start + self.us


@dataclass(frozen=True)
class Profile:
    """What was seen of `steps` training steps, each of `step_us` microseconds."""

    slices: list[Slice]
    steps: int
    step_us: float

    @property
    def kernels(self) -> list[Slice]:
        """Those that did the work."""
        return [each for each in self.slices if each.kernel]

    @property
    def attributed_us(self) -> float:
        """Of a step: the time in kernels. Where streams overlap it may be more than the step's."""
        return sum(each.us for each in self.kernels) / self.steps


@dataclass
class Row:
    """A kernel of a range; calls and microseconds are those of one step.

    gap_us: what passed on its stream before it began and after the last one had ended. The other figures are those of
    the whole range, whatever kernels it takes, and stand beside the longest of them; None elsewhere, and where no
    model says what the range must do. roof: the time that it takes at best, over the time that it took.
    """

    name: str
    kernel: str
    calls: float = 0.0
    us: float = 0.0
    share: float = 0.0
    gap_us: float = 0.0
    gflops: float | None = None
    gbs: float | None = None
    intensity: float | None = None
    roof: float | None = None


def rows(profile: Profile, costs: Mapping[str, Cost], roofs: Roofs | None) -> list[Row]:
    """The ranges that take longest first, and their kernels likewise. costs: of all that a range does in a step."""
    found: dict[tuple[str, str], Row] = {}
    for each, gap in _with_gaps(profile.slices):
        row = found.setdefault((each.name, each.kernel), Row(each.name, each.kernel))
        row.calls += 1 / profile.steps
        row.us += each.us / profile.steps
        row.gap_us += gap / profile.steps
    ranges = defaultdict(list)
    for row in found.values():
        row.share = row.us / profile.step_us if profile.step_us else 0.0
        ranges[row.name].append(row)
    total = {name: sum(row.us for row in of_range) for name, of_range in ranges.items()}
    for name, of_range in ranges.items():
        of_range.sort(key=lambda row: -row.us)
        if name in costs and total[name]:
            _rate(of_range[0], costs[name], 1e-6 * total[name], roofs)
    return [row for name in sorted(ranges, key=lambda name: -total[name]) for row in ranges[name]]


def _rate(row: Row, cost: Cost, seconds: float, roofs: Roofs | None) -> None:
    row.gflops, row.gbs = 1e-9 * cost.flops / seconds, 1e-9 * cost.bytes / seconds
    row.intensity = cost.intensity
    row.roof = roofs.seconds(cost) / seconds if roofs else None


def _with_gaps(slices: Iterable[Slice]) -> Iterator[tuple[Slice, float]]:
    """The kernels in the order of time, and what passed before each on its stream since the last one, or the step."""
    idle_since: dict[str, float] = {}
    for each in sorted(slices, key=lambda each: (each.start, -each.us)):
        before = idle_since.get(each.stream)
        if each.name == STEP and not each.kernel:  # what lies between steps is no gap
            idle_since[each.stream] = each.start
        elif each.kernel:
            yield each, 0.0 if before is None else each.start - before
            idle_since[each.stream] = each.end
