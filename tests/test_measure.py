"""Timers, rows and traces, with clocks that tell what they are told to."""

import json
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from trace_events import check_trace

import gpucnn as g
import gpucnn.functional as F
from gpucnn.costs import Cost
from gpucnn.errors import GpucnnError
from gpucnn.measure.slices import Profile, Slice, rows
from gpucnn.measure.timers import CpuClock, GpuClock, Timers, timed
from gpucnn.measure.trace import trace
from gpucnn.profiling import annotate, listening
from gpucnn.roofs import Roofs


class Hand(CpuClock):
    """A clock that is moved by hand, in nanoseconds."""

    now = 0

    def mark(self):
        return self.now


def work(clock, us):
    clock.now += int(1000 * us)


def two_steps(timers, clock):
    """Each: 5 us that nobody names, 1 us before a layer's kernel, its 20 us, 2 us behind it, 10 us of an update."""
    for _ in range(2):
        with annotate("step"):
            work(clock, 5)
            with annotate("0.forward"):
                work(clock, 1)
                with timers.range("0.forward", "conv2d_cpu.forward"):
                    work(clock, 20)
                work(clock, 2)
            with annotate("optimizer"):
                work(clock, 10)
        work(clock, 100)


@pytest.fixture
def profile():
    timers = Timers(clock := Hand())
    with listening(timers), annotate("epoch"):
        with annotate("before"):
            work(clock, 7)
        two_steps(timers, clock)
    return timers.profile()


def test_time_is_that_of_the_innermost_ranges_inside_of_steps(profile):
    assert (profile.steps, profile.step_us) == (2, pytest.approx(38))
    assert profile.attributed_us == pytest.approx(31)
    found = {row.name: row for row in rows(profile, {}, None)}
    assert list(found) == ["0.forward", "optimizer"], "the slower one first, and nothing from outside of steps"
    first, second = found.values()
    assert (first.kernel, first.calls, first.us) == ("conv2d_cpu.forward", 1, pytest.approx(21))
    assert (second.kernel, second.share) == ("optimizer", pytest.approx(10 / 38))
    assert (first.gap_us, second.gap_us) == (pytest.approx(5), pytest.approx(2))


def test_busy_and_idle_time_make_up_the_step(profile):
    found = rows(profile, {}, None)
    assert sum(row.us + row.gap_us for row in found) == pytest.approx(profile.step_us)
    assert sum(row.share for row in found) == pytest.approx(profile.attributed_us / profile.step_us)


def test_rates_beside_the_roofs(profile):
    cost = Cost(flops=2_100_000, bytes=420_000)  # in 21 us: 100 GFLOP/s, 20 GB/s
    row = rows(profile, {"0.forward": cost}, Roofs(gflops=400, gbs=40))[0]
    assert (row.gflops, row.gbs, row.intensity) == (pytest.approx(100), pytest.approx(20), 5)
    assert row.roof == pytest.approx(0.5)  # 10.5 us for the bytes, half of it for the arithmetic
    assert rows(profile, {"0.forward": cost}, None)[0].roof is None


def test_a_range_that_runs_twice_in_a_step_and_one_that_took_no_time():
    slices = [Slice("step", "", 0, 10, "s"), Slice("a", "k", 1, 2, "s"), Slice("a", "k", 4, 3, "s")]
    twice, none = rows(
        Profile([*slices, Slice("b", "k", 8, 0, "s")], 1, 10.0), {"a": Cost(1, 1), "b": Cost(1, 1)}, None
    )
    assert (twice.calls, twice.us, twice.gap_us) == (2, 5, 2)
    assert (none.us, none.gflops) == (0, None)


def test_no_step_is_an_error():
    timers = Timers(Hand())
    with listening(timers), annotate("batch"):
        pass
    with pytest.raises(GpucnnError, match="no training step was seen"):
        timers.profile()


class FakeGpu:
    """A device whose events are marks of a clock that kernels move; it must be waited for before they are read."""

    type, index = "cuda", 0

    def __init__(self):
        self.now, self.done = 0.0, False
        gpu = self

        class Event:
            def record(self):
                self.ms, gpu.done = gpu.now, False

        def elapsed(first, last):
            assert gpu.done, "read before the GPU was waited for"
            return last.ms - first.ms

        self.xp = SimpleNamespace(cuda=SimpleNamespace(Event=Event, get_elapsed_time=elapsed))

    def __str__(self):
        return "cuda:0"

    def synchronize(self):
        self.done = True

    def kernel(self, us):
        self.now += 1e-3 * us


def test_cuda_events_give_the_same_rows_for_each_launch():
    gpu = FakeGpu()
    timers = Timers(GpuClock(gpu))
    with listening(timers), annotate("step"):
        with timers.range("0.backward", "Conv2d"), timers.range("0.backward_weight", "conv2d_raw.backward_weight"):
            for name, us in (("conv2d_backward_weight_gemm", 30), ("conv2d_backward_weight_reduce", 4)):
                launch = partial(gpu.kernel)
                launch.__name__ = name
                assert timers.launch(launch, (us,)), "it has made the launch"
                gpu.kernel(1)  # a gap
        with timers.range("1.forward", "GELU"):
            gpu.kernel(9)  # CuPy's own kernels
    found = rows(timers.profile(), {}, None)
    assert [(row.name, row.kernel, round(row.us), round(row.gap_us)) for row in found] == [
        ("0.backward_weight", "conv2d_backward_weight_gemm", 30, 0),
        ("0.backward_weight", "conv2d_backward_weight_reduce", 4, 1),
        ("1.forward", "GELU", 9, 1),
    ]


def test_the_trace_is_one_of_chromes_and_nests(profile):
    complete = check_trace(json.dumps(trace(profile, "by hand")))
    assert [(e["name"], e["ts"], e["dur"]) for e in complete[:3]] == [
        ("step", 0, 38), ("0.forward", 5, 23), ("0.forward", 5, 21)
    ]  # fmt: skip
    assert {e["args"]["kernel"] for e in complete if e["cat"] == "kernel"} == {"conv2d_cpu.forward", "optimizer"}


@pytest.mark.parametrize(
    "slices",
    [
        [Slice("a", "k", 0, 10, "s"), Slice("b", "k", 5, 10, "s")],  # overlap on one stream
        [Slice("a", "k", 0, -1, "s")],
    ],
)
def test_what_the_check_of_traces_finds(slices):
    with pytest.raises(AssertionError):
        check_trace(json.dumps(trace(Profile(slices, 1, 1.0), "wrong")))


def test_times_that_are_no_whole_nanoseconds_still_nest():
    """Sums of thirds: the end of a range and of the last one inside are rounded alike."""
    third = 1 / 3
    slices = [
        Slice("step", "", third, 3 * third, "s"),
        *(Slice(str(i), "k", (1 + i) * third, third, "s") for i in range(3)),
    ]
    assert len(check_trace(json.dumps(trace(Profile(slices, 1, 1.0), "thirds")))) == 4


@pytest.mark.parametrize("stream", ["one", "two"])
def test_streams_beside_each_other_do_not_close_each_others_gaps(stream):
    slices = [Slice("a", "k", 0, 10, "one"), Slice("b", "k", 2, 4, "two"), Slice("c", "k", 20, 5, stream)]
    gaps = {row.name: row.gap_us for row in rows(Profile(slices, 1, 25.0), {}, None)}
    assert gaps == {"a": 0, "b": 0, "c": 10 if stream == "one" else 14}


def test_a_step_on_the_cpu_is_that_of_its_layers():
    """By the time of day: what is named lies inside of the step, and is not longer."""
    model = g.Sequential(g.Conv2d(1, 16, 3), g.ReLU(), g.MaxPool2d(2), g.Flatten(), g.Linear(144, 10))
    x, y = g.Tensor(np.ones((64, 1, 8, 8), np.float32)), np.arange(64) % 10
    for listen in (nullcontext(), timed(g.CPU)):
        with listen as timers, annotate("step"):
            F.cross_entropy(model(x), y).backward()
    profile = timers.profile()
    assert 0 < profile.attributed_us < profile.step_us
    assert {each.name for each in profile.kernels} >= {"0.forward", "4.backward_weight", "cross_entropy.forward"}
